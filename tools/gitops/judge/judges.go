package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	appv1 "github.com/argoproj/argo-cd/v3/pkg/apis/application/v1alpha1"
	"github.com/argoproj/argo-cd/v3/util/lua"
	"github.com/argoproj/gitops-engine/pkg/health"
	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	"github.com/fluxcd/pkg/apis/kustomize"
	"github.com/fluxcd/pkg/runtime/cel"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

// argocd judges as the application controller does, whose settings have the scripts in the same form: by group/kind.
type argocd struct{ overrides lua.ResourceHealthOverrides }

func loadScripts(folder string) (argocd, error) {
	overrides := lua.ResourceHealthOverrides{}
	paths, err := filepath.Glob(filepath.Join(folder, "*", "*", "health.lua"))
	if err != nil {
		return argocd{}, err
	}
	if len(paths) == 0 {
		return argocd{}, fmt.Errorf("no GROUP/KIND/health.lua in %q", folder)
	}
	for _, path := range paths {
		script, err := os.ReadFile(path)
		if err != nil {
			return argocd{}, err
		}
		key, err := filepath.Rel(folder, filepath.Dir(path))
		if err != nil {
			return argocd{}, err
		}
		// Without the open libraries, as settings have it by default.
		overrides[filepath.ToSlash(key)] = appv1.ResourceOverride{HealthLua: string(script)}
	}
	return argocd{overrides}, nil
}

func (a argocd) judge(object *unstructured.Unstructured) (Opinion, error) {
	found, err := health.GetResourceHealth(object, a.overrides)
	if err != nil || found == nil {
		return Opinion{Status: "none"}, err
	}
	return Opinion{Status: string(found.Status), Message: found.Message}, nil
}

func kstatus(object *unstructured.Unstructured) (Opinion, error) {
	found, err := status.Compute(object)
	if err != nil {
		return Opinion{}, err
	}
	return Opinion{Status: found.Status.String(), Message: found.Message}, nil
}

// flux judges as the kustomize-controller does: by the expressions of the object's kind, else by kstatus.
type flux struct{ expressions map[string]*cel.StatusEvaluator }

func loadExpressions(path string) (flux, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return flux{}, err
	}
	var kustomization struct {
		Spec struct {
			HealthCheckExprs []kustomize.CustomHealthCheck `json:"healthCheckExprs"`
		} `json:"spec"`
	}
	if err := yaml.Unmarshal(text, &kustomization); err != nil {
		return flux{}, err
	}
	expressions := map[string]*cel.StatusEvaluator{}
	for _, check := range kustomization.Spec.HealthCheckExprs {
		evaluator, err := cel.NewStatusEvaluator(&check.HealthCheckExpressions)
		if err != nil {
			return flux{}, err
		}
		expressions[check.APIVersion+"/"+check.Kind] = evaluator
	}
	if len(expressions) == 0 {
		return flux{}, fmt.Errorf("no healthCheckExprs in %s", path)
	}
	return flux{expressions}, nil
}

func (f flux) judge(object *unstructured.Unstructured) (Opinion, error) {
	evaluator, ok := f.expressions[object.GetAPIVersion()+"/"+object.GetKind()]
	if !ok {
		return kstatus(object)
	}
	found, err := evaluator.Evaluate(context.Background(), object)
	if err != nil {
		return Opinion{}, err
	}
	return Opinion{Status: found.Status.String(), Message: found.Message}, nil
}
