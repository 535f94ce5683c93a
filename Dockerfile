# syntax=docker/dockerfile:1
# One image: the API as it is, the worker with `arq app.worker.WorkerSettings`, the command line with `vecloom`.

FROM python:3.11-slim AS build
ENV UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy UV_PYTHON_DOWNLOADS=never
WORKDIR /build
COPY pyproject.toml requirements.lock ./
# The lock as constraints: exact versions, hashes verified, and only what the service needs. EXTRAS adds to that, for
# example `--build-arg EXTRAS="--extra fastembed"`.
ARG EXTRAS=""
RUN pip install --no-cache-dir "uv>=0.9,<1" \
    && uv venv /opt/vecloom \
    && uv pip install --no-cache --python /opt/vecloom/bin/python --constraints requirements.lock \
        --requirements pyproject.toml ${EXTRAS}
COPY README.md LICENSE ./
COPY app app
COPY migrations migrations
RUN uv pip install --no-cache --python /opt/vecloom/bin/python --no-deps --build-constraints requirements.lock .

FROM python:3.11-slim
# for sources that are git repositories
RUN apt-get update && apt-get install --yes --no-install-recommends git openssh-client && rm -rf /var/lib/apt/lists/*
RUN useradd --system --uid 10001 --create-home --home-dir /var/lib/vecloom vecloom \
    && install --directory --owner vecloom --mode 700 /var/lib/vecloom/uploads /var/lib/vecloom/projections
COPY --from=build /opt/vecloom /opt/vecloom
ENV PATH=/opt/vecloom/bin:$PATH PYTHONUNBUFFERED=1
USER vecloom
WORKDIR /var/lib/vecloom
# what lays out projections is compiled once, not by the first one that is drawn: for processors like this one, and for
# any other
RUN python -c "from app.projection.steps import compile_layouts; compile_layouts()" \
    && NUMBA_CPU_NAME=generic python -c "from app.projection.steps import compile_layouts; compile_layouts()"
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s --retries=3 CMD ["python", "-c", \
    "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/api/v1/health/live', timeout=2)"]
CMD ["uvicorn", "--factory", "app.main:create_app", "--host", "0.0.0.0", "--port", "8000", "--no-proxy-headers"]
