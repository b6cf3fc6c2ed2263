#!/usr/bin/env bash
# Installs what builds an image without a daemon, from the distribution's packages, where it is missing; needs root then. Starts nothing.
set -euo pipefail
command -v buildah >/dev/null && command -v mmdebstrap >/dev/null && exit 0
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends buildah mmdebstrap >/dev/null
