// Command judge says of Kubernetes objects what GitOps tools would say of their health: Argo CD with the health scripts of
// a folder, kstatus (Flux and others without further settings), and Flux with the health expressions of a Kustomization.
//
//	judge --argocd deploy/argocd --flux deploy/flux/kustomization.yaml [FILE|FOLDER…]
//
// Objects are YAML or JSON documents, from files (of folders all *.yaml below them) or else from standard input. It prints one
// line of JSON for each, in their order. Each judge is the code that the tool itself runs.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
)

// Verdict is what is printed of one object.
type Verdict struct {
	Kind      string  `json:"kind"`
	Namespace string  `json:"namespace,omitempty"`
	Name      string  `json:"name"`
	ArgoCD    Opinion `json:"argocd"`
	Kstatus   Opinion `json:"kstatus"`
	Flux      Opinion `json:"flux"`
}

// Opinion is one tool's; the message is empty where the tool has none.
type Opinion struct {
	Status  string `json:"status"`
	Message string `json:"message,omitempty"`
}

func main() {
	scripts := flag.String("argocd", "", "folder with GROUP/KIND/health.lua")
	expressions := flag.String("flux", "", "file with a Flux Kustomization that has healthCheckExprs")
	flag.Parse()
	if err := run(*scripts, *expressions, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "judge:", err)
		os.Exit(1)
	}
}

func run(scripts, expressions string, paths []string) error {
	argocd, err := loadScripts(scripts)
	if err != nil {
		return err
	}
	flux, err := loadExpressions(expressions)
	if err != nil {
		return err
	}
	objects, err := readAll(paths)
	if err != nil {
		return err
	}
	out := json.NewEncoder(os.Stdout)
	for _, object := range objects {
		verdict := Verdict{Kind: object.GetKind(), Namespace: object.GetNamespace(), Name: object.GetName()}
		if verdict.ArgoCD, err = argocd.judge(object); err != nil {
			return fmt.Errorf("Argo CD, %s %s: %w", verdict.Kind, verdict.Name, err)
		}
		if verdict.Kstatus, err = kstatus(object); err != nil {
			return fmt.Errorf("kstatus, %s %s: %w", verdict.Kind, verdict.Name, err)
		}
		if verdict.Flux, err = flux.judge(object); err != nil {
			return fmt.Errorf("Flux, %s %s: %w", verdict.Kind, verdict.Name, err)
		}
		if err := out.Encode(verdict); err != nil {
			return err
		}
	}
	return nil
}

func readAll(paths []string) ([]*unstructured.Unstructured, error) {
	if len(paths) == 0 {
		return read(os.Stdin)
	}
	var objects []*unstructured.Unstructured
	add := func(path string) error {
		file, err := os.Open(path)
		if err != nil {
			return err
		}
		defer file.Close()
		found, err := read(file)
		objects = append(objects, found...)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		return nil
	}
	for _, root := range paths {
		err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() || (path != root && !strings.HasSuffix(path, ".yaml")) {
				return err
			}
			return add(path)
		})
		if err != nil {
			return nil, err
		}
	}
	return objects, nil
}

// JSON lines are read as well: one JSON document after another.
func read(from io.Reader) ([]*unstructured.Unstructured, error) {
	decoder := yaml.NewYAMLOrJSONDecoder(from, 4096)
	var objects []*unstructured.Unstructured
	for {
		object := &unstructured.Unstructured{}
		err := decoder.Decode(object)
		if errors.Is(err, io.EOF) {
			return objects, nil
		}
		if err != nil {
			return nil, err
		}
		objects = append(objects, object)
	}
}
