# One image for every component; the manifests say which module runs. `./dev image` builds it.
# A registry's digest of a base image is not known to every builder; where it is known, pass it:
# --build-arg BASE=docker.io/library/python:3.13-slim@sha256:...
ARG BASE=docker.io/library/python:3.13-slim

FROM ${BASE} AS build
WORKDIR /src
# Byte code is checked by its source's hash, not by its time: times of files change when layers are
# made, stale byte code is compiled at every start, and a read-only root keeps none of it.
ENV SOURCE_DATE_EPOCH=315532800
# The environment has no pip: the base's own pip installs into it.
RUN python3 -m venv --without-pip /opt/spillover
COPY requirements/runtime.txt requirements/ahpa.txt requirements/build.txt requirements/
RUN python3 -m pip --python /opt/spillover/bin/python install --no-cache-dir --require-hashes \
        --only-binary=:all: -r requirements/runtime.txt -r requirements/ahpa.txt \
    && python3 -m venv --without-pip /opt/build \
    && python3 -m pip --python /opt/build/bin/python install --no-cache-dir --require-hashes \
        --only-binary=:all: -r requirements/build.txt
COPY pyproject.toml README.md LICENSE ./
COPY spillover spillover
COPY extender extender
COPY webhook webhook
COPY certificates certificates
RUN python3 -m pip --python /opt/build/bin/python wheel --no-cache-dir --no-deps \
        --no-build-isolation --wheel-dir /dist . \
    && python3 -m pip --python /opt/spillover/bin/python install --no-cache-dir --no-deps /dist/*.whl

FROM ${BASE}
ENV PYTHONDONTWRITEBYTECODE=1
# The base image has no byte code of the standard library, and nobody can write any at run time.
RUN SOURCE_DATE_EPOCH=315532800 python3 -m compileall -q -f -x '/(test|tests|idlelib|site-packages|dist-packages)/' \
        "$(python3 -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')"
COPY --from=build /opt/spillover /opt/spillover
ENV PATH=/opt/spillover/bin:$PATH
USER 65532:65532
ENTRYPOINT []
CMD ["python", "-m", "extender"]
