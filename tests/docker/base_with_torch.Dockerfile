# A base image as NVIDIA's are: a torch of its own below the release it becomes, other versions of other packages, constraints on them that
# contradict ours, a file that every bash reads, a user 1000, an entry point. The torch is the CPU's under such a name.
ARG PLAIN
FROM ${PLAIN}
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
ENV VERSION=2.13.0a0+9186a08b2c.nv26.7
WORKDIR /usr/local/lib/python3.11/dist-packages
# hadolint ignore=DL3013,DL3042
RUN set -e; python3 -m venv /tmp/venv; \
    /tmp/venv/bin/pip install --quiet --no-cache-dir --target . torch==2.13.0 numpy==2.3.5; \
    rm -r /tmp/venv; \
    mv torch-2.13.0*.dist-info "torch-${VERSION}.dist-info"; \
    sed -i "s/^Version: .*/Version: ${VERSION}/" "torch-${VERSION}.dist-info/METADATA"; \
    sed -i "s/^__version__ = .*/__version__ = '${VERSION}'/" torch/version.py; \
    mkdir -p /etc/pip /opt/nvidia; \
    printf 'numpy==2.3.5\ntorch==%s\ntransformers==4.57.0\n' "${VERSION}" > /etc/pip/constraint.txt; \
    printf '#!/bin/bash\necho "a banner"\nexec "$@"\n' > /opt/nvidia/entrypoint.sh; \
    chmod +x /opt/nvidia/entrypoint.sh; \
    useradd --create-home --uid 1000 ubuntu
ENV PIP_CONSTRAINT=/etc/pip/constraint.txt BASH_ENV=/etc/bash.bashrc
ENTRYPOINT ["/opt/nvidia/entrypoint.sh"]
