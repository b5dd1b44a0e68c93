# syntax=docker/dockerfile:1
# One production node. Settings come from the environment: see config/base.toml.
#   docker build -t chatserver . && docker run -p 8080:8080 --env-file chat.env chatserver

# The chat page.
FROM node:24-slim AS page
WORKDIR /src/client
COPY client/package.json client/package-lock.json client/.npmrc ./
COPY client/web/package.json web/
RUN npm ci --ignore-scripts
COPY client ./
RUN npm run build && npm run build --workspace web

FROM python:3.11-slim AS build
WORKDIR /src
RUN python -m venv /opt/chatserver
ENV PATH=/opt/chatserver/bin:$PATH PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
# Packages by the hashes of their files; then nothing more is fetched.
COPY locks/build.txt locks/server.txt locks/
RUN python -m venv /opt/build \
    && /opt/build/bin/pip install --require-hashes --requirement locks/build.txt \
    && /opt/build/bin/pip wheel --no-build-isolation --require-hashes \
        --wheel-dir wheels --requirement locks/server.txt \
    && pip install --no-index --no-deps wheels/*.whl
COPY pyproject.toml hatch_build.py README.md LICENSE ./
COPY chatserver chatserver
COPY config config
COPY migrations migrations
COPY --from=page /src/client/web/dist client/web/dist
RUN /opt/build/bin/pip wheel --no-build-isolation --no-deps --wheel-dir dist . \
    && pip install --no-index --no-deps dist/*.whl && pip uninstall --yes pip

FROM python:3.11-slim
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin chatserver
COPY --from=build /opt/chatserver /opt/chatserver
ENV PATH=/opt/chatserver/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    CHAT_SERVER_HOST=0.0.0.0 \
    CHAT_SERVER_PORT=8080
USER 10001
WORKDIR /opt/chatserver
EXPOSE 8080
# /healthz says that the process lives; what routes traffic should ask /readyz.
HEALTHCHECK --interval=10s --timeout=4s --start-period=20s --retries=3 CMD ["python", "-c", \
    "import http.client, os, sys; c = http.client.HTTPConnection('127.0.0.1', int(os.environ['CHAT_SERVER_PORT']), timeout=3); c.request('GET', '/healthz'); sys.exit(c.getresponse().status != 200)"]
STOPSIGNAL SIGTERM
# No shell between: SIGTERM reaches the server, which then drains for up to 15 s
# (docker stop --time 20, terminationGracePeriodSeconds: 20).
CMD ["chatserver", "serve"]
