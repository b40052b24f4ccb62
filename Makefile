# Everything from an empty machine. Needs Rust, Go, make, kubectl and Python 3 with venv; what else is used is built into
# .build, once. CI runs `make test`.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
# Go and cargo use all cores by themselves; two of them at once would only compete.
.NOTPARALLEL:

BUILD := .build
BIN := $(BUILD)/bin
VENV := $(BUILD)/venv
CARGO_DENY := $(BUILD)/tools/bin/cargo-deny
CARGO_FUZZ := $(BUILD)/tools/bin/cargo-fuzz
CARGO_CYCLONEDX := $(BUILD)/tools/bin/cargo-cyclonedx
VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)
REVISION = $(shell git rev-parse HEAD)
FUZZ_TARGETS := answers objects secrets sts texts
CONTROL_PLANE := tools/control-plane

# The field's convention (controller-runtime's envtest): a folder with ready binaries, which win over our own. Made
# absolute, since cargo runs tests in other folders. Without it the tests look into .build/bin.
ifneq ($(KUBEBUILDER_ASSETS),)
override KUBEBUILDER_ASSETS := $(abspath $(KUBEBUILDER_ASSETS))
export KUBEBUILDER_ASSETS
endif
# Of these programs, the ones that the folder lacks: all where it is not set.
OWN := $(foreach program,etcd kube-apiserver kube-controller-manager,\
	$(if $(and $(KUBEBUILDER_ASSETS),$(wildcard $(KUBEBUILDER_ASSETS)/$(program))),,$(BIN)/$(program)))

# Static, small, and the same wherever they are built.
GO_BUILD := CGO_ENABLED=0 go build -trimpath -buildvcs=false

.PHONY: help
help: ## Lists the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "%-16s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

# Which third of the cases of a long suite `make test` takes: another one after each commit. `make test-extended` takes all.
TEST_SEED ?= $(shell git rev-list --count HEAD 2>/dev/null || echo 0)
export TEST_SEED
# End-to-end tests mostly wait.
E2E_THREADS ?= 4
LINTS = cargo fmt --all --check; cargo clippy --locked --workspace --all-targets -- -D warnings
TESTS = export CRBO_SDK_PYTHON='$(abspath $(VENV)/bin/python)'; \
	cargo test --locked --workspace --lib --bins -- $(1); \
	cargo test --locked --test corpus --test simulation -- $(1); \
	cargo test --locked --package cloud-simulator --package testbed --test '*' -- $(1); \
	cargo test --locked --test e2e -- --test-threads=$(E2E_THREADS) $(1)

.PHONY: check
check: ## Format, lints and pure tests: for the inner loop
	$(LINTS)
	cargo test --locked --lib -- --skip plan::model::

.PHONY: test
test: control-plane ship $(VENV)/ready ## Format, lints and all tests, of the long suites a share: for every change
	$(LINTS)
	@echo 'TEST_SEED=$(TEST_SEED)'
	$(call TESTS)

.PHONY: test-extended
test-extended: export TEST_EXTENDED := 1
test-extended: control-plane ship $(VENV)/ready ## All tests, the long suites as a whole, and a soak: each night, before a release
	$(LINTS)
	RUSTDOCFLAGS='-D warnings' cargo doc --locked --workspace --no-deps
	$(call TESTS,--include-ignored)
	$(MAKE) soak

# `make bench N=10000 RATE=20 PHASES=create,steady,drip,restart`: a variable for each flag that is often set. ARGS is for the
# others, which `make bench ARGS=--help` lists.
.PHONY: bench
bench: control-plane ## What a fleet of policies costs: calls, requests, CPU, memory, latencies
	benches/fleet.sh $(if $(N),--policies $(N)) $(if $(BACKUPS),--backups $(BACKUPS)) \
		$(if $(LATENCY_MS),--latency-ms $(LATENCY_MS)) $(if $(RESYNC),--resync $(RESYNC)) $(if $(RATE),--rate $(RATE)) \
		$(if $(PHASES),--phases $(PHASES)) $(if $(JSON),--json $(JSON)) $(ARGS)

# `make soak FOR=10m POLICIES=200 SEED=7`: a seed that found something finds it again. PROFILE=dev takes an unoptimised build.
.PHONY: soak
soak: control-plane ## Two replicas for a while with everything that can go wrong, and whether anything did
	cargo bench --quiet --locked --profile $(or $(PROFILE),release) --bench soak -- $(if $(FOR),--for $(FOR)) \
		$(if $(POLICIES),--policies $(POLICIES)) $(if $(SEED),--seed $(SEED)) $(ARGS)

.PHONY: demo
demo: control-plane ## The operator at work, against the simulator and a real control plane
	cargo build --locked --package cross-region-backup-operator --package cloud-simulator --bins
	cargo run --quiet --locked --package testbed --bin demo

.PHONY: control-plane
control-plane: $(OWN) kubectl ## Builds kube-apiserver, kube-controller-manager and etcd

.PHONY: kubectl
kubectl:
	@if [ ! -x "$${KUBEBUILDER_ASSETS:-}/kubectl" ] && ! command -v kubectl >/dev/null; then \
		echo 'kubectl is missing: install it, or set KUBEBUILDER_ASSETS to a folder that has it' >&2; exit 1; \
	fi

$(BIN)/etcd: $(addprefix $(CONTROL_PLANE)/etcd/,go.mod go.sum main.go)
	mkdir -p $(BIN)
	cd $(CONTROL_PLANE)/etcd && $(GO_BUILD) -ldflags '-s -w' -o $(abspath $@) .
	touch $@

# kubectl cannot parse the version of a server that was built without these. touch, because go leaves a binary alone
# that is up to date for it.
$(BIN)/kube-%: $(addprefix $(CONTROL_PLANE)/kubernetes/,go.mod go.sum)
	mkdir -p $(BIN)
	cd $(CONTROL_PLANE)/kubernetes; \
	version=$$(go list -m -f '{{.Version}}' k8s.io/kubernetes); \
	IFS=. read -r major minor _ <<<"$${version#v}"; \
	stamp=k8s.io/component-base/version; \
	$(GO_BUILD) -o $(abspath $@) -ldflags "-s -w -X $$stamp.gitVersion=$$version -X $$stamp.gitMajor=$$major \
		-X $$stamp.gitMinor=$$minor" k8s.io/kubernetes/cmd/kube-$*
	touch $@

# helm lints, renders and installs the chart, promtool tests the alerts, judge says of an object what GitOps tools would say.
.PHONY: ship
ship: $(BIN)/helm $(BIN)/promtool $(BIN)/judge ## Builds helm, promtool and judge, which the tests of deploy/ need

$(BIN)/helm: $(addprefix tools/helm/,go.mod go.sum)
	mkdir -p $(BIN)
	cd tools/helm && $(GO_BUILD) -ldflags '-s -w' -o $(abspath $@) helm.sh/helm/v4/cmd/helm
	touch $@

# Without most of what discovers targets in clouds: half of its size.
$(BIN)/promtool: $(addprefix tools/promtool/,go.mod go.sum)
	mkdir -p $(BIN)
	cd tools/promtool && $(GO_BUILD) -tags remove_all_sd -ldflags '-s -w' -o $(abspath $@) \
		github.com/prometheus/prometheus/cmd/promtool
	touch $@

$(BIN)/judge: $(addprefix tools/gitops/,go.mod go.sum) $(wildcard tools/gitops/judge/*.go)
	mkdir -p $(BIN)
	cd tools/gitops && $(GO_BUILD) -ldflags '-s -w' -o $(abspath $@) ./judge
	touch $@

# The clouds' official SDKs, against which the simulator is held.
$(VENV)/ready: simulator/tests/sdk/requirements.txt
	python3 -m venv --clear $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --requirement $<
	touch $@

.PHONY: crds
crds: ## Writes crds/*.yaml anew from the Rust types, also into the chart
	UPDATE_CRDS=1 cargo test --quiet --locked --lib crds_are_fresh
	$(MAKE) chart

# Helm reads nothing outside of its chart: what it shares with others is copied into it.
.PHONY: chart
chart: ## Copies the CRDs, alerts and dashboard into the Helm chart
	cp crds/crossregionbackup.io_*.yaml deploy/helm/files/crds/
	cp deploy/prometheus/rules.yaml deploy/grafana/dashboard.json deploy/helm/files/

# Without advisories, see `deny-advisories`: they would fail a build for what somebody published today.
.PHONY: deny
deny: $(CARGO_DENY) ## Licences, sources and duplicates of the dependencies
	$(CARGO_DENY) --workspace --locked check licenses sources bans

.PHONY: deny-advisories
deny-advisories: $(CARGO_DENY) ## Advisories on the dependencies; fetches their database from the network
	$(CARGO_DENY) --workspace --locked check advisories

$(CARGO_DENY):
	cargo install --locked cargo-deny --version 0.20.2 --root $(BUILD)/tools

# `make fuzz FOR=600 TARGET=answers`: seconds for each target, and which. What it finds is kept in .build/fuzz/corpus, and an
# input that breaks a promise in .build/fuzz/artifacts: into fuzz/corpus with it, where `make test` runs it. Stable Rust has no
# sanitizers; this code has no unsafe of its own.
.PHONY: fuzz
fuzz: FOR ?= 60
fuzz: $(CARGO_FUZZ) ## Looks for bad input that breaks something, guided by coverage. Needs a C++ compiler as well
	for target in $(or $(TARGET),$(FUZZ_TARGETS)); do \
		mkdir -p $(BUILD)/fuzz/corpus/$$target $(BUILD)/fuzz/artifacts/$$target; \
		$(CARGO_FUZZ) run --fuzz-dir fuzz --sanitizer none --target-dir $(BUILD)/fuzz/target $$target \
			$(abspath $(BUILD))/fuzz/corpus/$$target $(CURDIR)/fuzz/corpus/$$target -- -max_total_time=$(FOR) \
			-artifact_prefix=$(abspath $(BUILD))/fuzz/artifacts/$$target/ -max_len=65536 -timeout=30 -print_final_stats=1; \
	done

$(CARGO_FUZZ):
	cargo install --locked cargo-fuzz --version 0.13.2 --root $(BUILD)/tools

# `make image IMAGE=registry.example.com/cross-region-backup-operator:0.1.0 RUNTIME_IMAGE=… RUNTIME_DIGEST=sha256:…`: see the Dockerfile.
# PLATFORM=linux/arm64 builds for another machine, where the builder can emulate it. All times in the image are that of the commit.
IMAGE ?= cross-region-backup-operator:$(VERSION)
BUILDER := $(firstword $(notdir $(shell command -v buildah docker)))
IMAGE_FLAGS = $(foreach name,BUILD_IMAGE BUILD_DIGEST RUNTIME_IMAGE RUNTIME_DIGEST,$(if $($(name)),--build-arg $(name)='$($(name))')) \
	--build-arg VERSION=$(VERSION) --build-arg REVISION=$(REVISION) $(if $(PLATFORM),--platform $(PLATFORM)) --tag $(IMAGE)
.PHONY: image
image: ## Builds the image, with buildah or docker
	@if [ -z '$(BUILDER)' ]; then echo 'neither buildah nor docker is installed' >&2; exit 1; fi
	epoch=$$(git log -1 --format=%ct); \
	case '$(BUILDER)' in \
		buildah) buildah build --timestamp "$$epoch" $(IMAGE_FLAGS) .;; \
		docker) SOURCE_DATE_EPOCH="$$epoch" docker build $(IMAGE_FLAGS) .;; \
	esac

.PHONY: image-check
image-check: ## Whether the image that buildah has built runs, and is small: IMAGE as above
	tools/image-check.sh $(IMAGE)

.PHONY: sbom
sbom: $(CARGO_CYCLONEDX) ## Writes .build/sbom.cdx.json: what the binary is made of (CycloneDX), by Cargo.lock
	$(CARGO_CYCLONEDX) cyclonedx --format json --spec-version 1.5 --no-build-deps --override-filename sbom.cdx
	mv sbom.cdx.json $(BUILD)/
	rm -f simulator/sbom.cdx.json tools/testbed/sbom.cdx.json

$(CARGO_CYCLONEDX):
	cargo install --locked cargo-cyclonedx --version 0.5.9 --root $(BUILD)/tools

.PHONY: clean
clean: ## Removes all that was built
	cargo clean
	rm -rf $(BUILD)
