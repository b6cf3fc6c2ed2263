#!/usr/bin/env bash
# Installs OpenSSH's server and client from the distribution's packages where they are missing; needs root then. Starts nothing.
set -euo pipefail
export PATH=$PATH:/usr/sbin:/sbin
command -v sshd >/dev/null && command -v ssh >/dev/null && exit 0
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends openssh-server openssh-client >/dev/null
