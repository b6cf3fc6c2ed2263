#!/usr/bin/env bash
# Installs Slurm's daemons and munge from the distribution's packages where they are missing; needs root then. Starts nothing.
set -euo pipefail
export PATH=$PATH:/usr/sbin:/sbin
command -v slurmctld >/dev/null && command -v slurmd >/dev/null && command -v munged >/dev/null && exit 0
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends slurm-wlm munge >/dev/null
