#!/usr/bin/env bash
# Whether an image that buildah has built is what it should be: its binary runs, it knows the CRDs of this tree, nothing of it is
# root's to run, and our own layers are small.
set -euo pipefail
image=${1:?usage: tools/image-check.sh IMAGE}
most=$((15 * 1000 * 1000))
binary=/usr/local/bin/cross-region-backup-operator

container=$(buildah from --pull-never "$image")
trap 'buildah rm "$container" >/dev/null' EXIT

version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)
found=$(buildah run "$container" -- $binary --version)
[ "$found" = "cross-region-backup-operator $version" ] || { echo "--version says: $found" >&2; exit 1; }

kinds=$(buildah run "$container" -- $binary crds | grep -c '^kind: CustomResourceDefinition$')
[ "$kinds" = "$(ls crds/crossregionbackup.io_*.yaml | wc -l)" ] \
	|| { echo "crds prints $kinds kinds" >&2; exit 1; }

user=$(buildah inspect --type image --format '{{.OCIv1.Config.User}}' "$image")
[ "$user" = 65532:65532 ] || { echo "it runs as $user" >&2; exit 1; }

mount=$(buildah mount "$container")
size=$(stat -c %s "$mount$binary")
# A layer is pushed, kept and pulled compressed.
layer=$(gzip --stdout "$mount$binary" | wc -c)
sum=$(sha256sum "$mount$binary" | cut -d ' ' -f 1)
buildah umount "$container" >/dev/null
[ "$layer" -lt $most ] || { echo "the binary's layer has $layer bytes, more than $most" >&2; exit 1; }

echo "$image: $found, $kinds kinds, user $user, $size bytes of our own ($layer as a layer), sha256 $sum"
