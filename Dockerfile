# docker build -t jcm . && docker run --rm -v "$PWD/map:/work/map" jcm
FROM python:3.13-slim
WORKDIR /source
COPY . .
RUN pip install --no-cache-dir .
WORKDIR /work
# Compiled programs stay with what they computed, so that a mounted folder keeps both.
ENV MPLBACKEND=Agg JCM_CACHE=/work/map/cache
CMD ["jcm-sensitivity", "map", "--output", "map"]
