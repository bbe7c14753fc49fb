# One image for every component; the manifests say which module runs.
FROM python:3.13-slim AS build
WORKDIR /src
COPY requirements/runtime.txt requirements/
RUN python -m venv /opt/spillover \
    && /opt/spillover/bin/pip install --no-cache-dir --require-hashes --only-binary=:all: -r requirements/runtime.txt
COPY pyproject.toml README.md LICENSE ./
COPY spillover spillover
COPY extender extender
COPY webhook webhook
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /dist . \
    && /opt/spillover/bin/pip install --no-cache-dir --no-deps /dist/*.whl

FROM python:3.13-slim
COPY --from=build /opt/spillover /opt/spillover
ENV PATH=/opt/spillover/bin:$PATH PYTHONDONTWRITEBYTECODE=1
USER 65532:65532
ENTRYPOINT []
CMD ["python", "-m", "extender"]
