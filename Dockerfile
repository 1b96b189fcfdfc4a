# The image of autoheal: docker build -t autoheal:0.1.0 .
#
# The base may be another one (a mirror's, a hardened one) that has Python 3.11 or newer as `python`, with pip and venv.
# Without a network, put the wheels of requirements/*.txt into wheels/ and build with PIP_NO_INDEX=1 (docs/deployment.md).
ARG BASE=python:3.13.9-slim-bookworm

FROM ${BASE} AS build
ARG PIP_NO_INDEX=
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore PIP_FIND_LINKS=/build/requirements
WORKDIR /build
COPY requirements wheel[s] requirements/
# No pip in the environment that is kept: what runs needs none.
RUN python -m venv --without-pip /opt/autoheal \
    && python -m venv --without-pip tools \
    && python -m pip --python /opt/autoheal/bin/python install --require-hashes -r requirements/run.txt \
    && python -m pip --python tools/bin/python install --require-hashes -r requirements/build.txt
COPY pyproject.toml README.md ./
COPY autoheal autoheal
COPY console console
# hatchling by hand: pip would look for the tools of the build where it itself runs.
RUN tools/bin/python -m hatchling build -t wheel -d dist \
    && python -m pip --python /opt/autoheal/bin/python install --no-deps --no-index dist/*.whl

FROM ${BASE}
ARG VERSION=0.1.0
ARG REVISION=
LABEL org.opencontainers.image.title="autoheal" \
      org.opencontainers.image.description="Auto-remediation gateway: Alertmanager alerts in, audited and verified actions out" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
# A name for the user, because ssh asks for one; and folders of its own, which named volumes take over.
RUN echo 'autoheal:x:10001:' >> /etc/group \
    && echo 'autoheal:x:10001:10001:autoheal:/var/lib/autoheal:/bin/false' >> /etc/passwd \
    && mkdir -p /etc/autoheal /var/lib/autoheal /var/lib/autoheal-keys \
    && chown 10001:10001 /var/lib/autoheal /var/lib/autoheal-keys \
    && chmod 0700 /var/lib/autoheal /var/lib/autoheal-keys
COPY --from=build /opt/autoheal /opt/autoheal
# The keys lie apart from the data, so that rotation, which has the data, cannot read them.
ENV PATH=/opt/autoheal/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    AUTOHEAL_HOST=0.0.0.0 \
    AUTOHEAL_RULES=/etc/autoheal/rules.yaml \
    AUTOHEAL_DATA_DIR=/var/lib/autoheal \
    AUTOHEAL_KEY_DIR=/var/lib/autoheal-keys
USER 10001:10001
WORKDIR /var/lib/autoheal
VOLUME ["/var/lib/autoheal", "/var/lib/autoheal-keys"]
EXPOSE 9009
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as r; r.build_opener(r.ProxyHandler({})).open('http://127.0.0.1:' + (os.environ.get('AUTOHEAL_PORT') or '9009') + '/readyz', timeout=4)"]
ENTRYPOINT ["autoheal"]
CMD ["serve"]
