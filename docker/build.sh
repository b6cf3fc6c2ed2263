#!/usr/bin/env bash
# Builds the image with docker, podman or buildah, the first that is there and works: docker/build.sh IMAGE [BASE_IMAGE] [option...]
set -euo pipefail
cd "$(dirname "$0")/.."
image=$1 base=${2:-}
shift $(($# < 2 ? $# : 2))

options=(--tag "$image" --file docker/Dockerfile --build-arg "REVISION=$(git describe --always --dirty --abbrev=40 '--exclude=*' 2>/dev/null || true)")
[ -z "$base" ] || options+=(--build-arg "BASE_IMAGE=$base")
options+=("$@")

# HEALTHCHECK and SHELL are Docker's format; podman and buildah write OCI's, which has neither, unless they are told.
if command -v docker >/dev/null && docker info >/dev/null 2>&1; then
  DOCKER_BUILDKIT=1 exec docker build "${options[@]}" .
elif command -v podman >/dev/null; then
  exec podman build --format docker "${options[@]}" .
elif command -v buildah >/dev/null; then
  exec buildah bud --format docker "${options[@]}" .
fi
if command -v docker >/dev/null; then
  echo "error: docker is installed, but its daemon does not answer (docker info says why), and there is no podman or buildah" >&2
else
  echo "error: an image needs docker, podman or buildah, and none is on the PATH (Debian: apt install buildah)" >&2
fi
exit 1
