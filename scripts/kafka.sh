#!/usr/bin/env bash
# A real Kafka broker on loopback for tests and `make demo-kafka`.
#
#   kafka.sh start   starts it (or finds it running) and prints its address
#   kafka.sh env     prints `export LAMINAR_TEST_KAFKA=<address>` for `eval`
#   kafka.sh down    ends the broker and keeps its data; `start` brings it back on the same port
#   kafka.sh stop    ends the broker and removes its data
#   kafka.sh fetch   only fetches the jars
#
# LAMINAR_TEST_KAFKA names a running broker to use instead. Else: Apache Kafka (KRaft, one JVM of 512 MB;
# jars from Maven Central, checked against scripts/kafka/jars.sha256, cached outside the tree). Else, where
# Java or Maven is missing, the native broker of the Python package noida-db (saves with a delay: not for
# tests that kill the broker). LAMINAR_KAFKA_DIR is where the broker keeps its data and its pid.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/laminardb
jars=$cache/kafka/4.1.0
dir=${LAMINAR_KAFKA_DIR:-${TMPDIR:-/tmp}/laminardb-kafka-$(id -u)}
noida_version=0.2.3

say() { echo "kafka: $*" >&2; }

running() { [ -s "$dir/pid" ] && kill -0 "$(cat "$dir/pid")" 2>/dev/null; }

free_port() { python3 -c 'import socket; s=socket.socket(); s.bind(("127.0.0.1",0)); print(s.getsockname()[1])'; }

verified() { (cd "$jars" && sha256sum --quiet --check "$here/kafka/jars.sha256") >/dev/null 2>&1; }

fetch() {
  [ -d "$jars" ] && verified && return
  say "fetching Apache Kafka 4.1.0 from Maven Central (43 MB, once)"
  local into
  mkdir -p "$cache/kafka"
  into=$(mktemp -d "$cache/kafka/fetch.XXXXXX")
  mvn -q -B -f "$here/kafka/pom.xml" org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies \
    -DincludeScope=runtime -DoutputDirectory="$into" >&2
  rm -rf "$jars"
  mv "$into" "$jars"
  verified || { rm -rf "$jars"; say "a jar differs from scripts/kafka/jars.sha256; nothing was started"; exit 1; }
}

configure() {
  local port controller
  port=$(free_port)
  controller=$(free_port)
  mkdir -p "$dir"
  echo "127.0.0.1:$port" >"$dir/bootstrap"
  cat >"$dir/server.properties" <<PROPERTIES
process.roles=broker,controller
node.id=1
listeners=PLAINTEXT://127.0.0.1:$port,CONTROLLER://127.0.0.1:$controller
advertised.listeners=PLAINTEXT://127.0.0.1:$port
controller.quorum.voters=1@127.0.0.1:$controller
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs=$dir/data
num.partitions=4
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
group.initial.rebalance.delay.ms=0
PROPERTIES
}

start_apache() {
  fetch
  if [ ! -s "$dir/server.properties" ]; then
    configure
    java -Xshare:auto -XX:TieredStopAtLevel=1 -Xmx256m -cp "$jars/*" kafka.tools.StorageTool format \
      --ignore-formatted --cluster-id 4L6g3nShT-eMCtK--X86sw --config "$dir/server.properties" >"$dir/log" 2>&1
  fi
  setsid java -Xmx512m -Xms128m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Xshare:auto -cp "$jars/*" \
    kafka.Kafka "$dir/server.properties" >>"$dir/log" 2>&1 </dev/null &
  echo $! >"$dir/pid"
}

start_noida() {
  local venv=$cache/noida-$noida_version
  if [ ! -x "$venv/bin/noida-db" ]; then
    say "no Java or Maven here: installing the Python package noida-db $noida_version"
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet "noida-db==$noida_version" >&2
  fi
  mkdir -p "$dir"
  [ -s "$dir/bootstrap" ] || echo "127.0.0.1:$(free_port)" >"$dir/bootstrap"
  local port
  port=$(cut -d: -f2 "$dir/bootstrap")
  setsid "$venv/bin/noida-db" start --only kafka --kafka-port "$port" --data-dir "$dir/data" \
    >>"$dir/log" 2>&1 </dev/null &
  echo $! >"$dir/pid"
}

start() {
  if [ -n "${LAMINAR_TEST_KAFKA:-}" ]; then
    say "using the broker that LAMINAR_TEST_KAFKA names"
    echo "$LAMINAR_TEST_KAFKA"
    return
  fi
  if ! running; then
    if command -v java >/dev/null && command -v mvn >/dev/null; then start_apache; else start_noida; fi
  fi
  local address
  address=$(cat "$dir/bootstrap")
  for _ in $(seq 300); do
    running || { say "the broker ended at its start; see $dir/log"; tail -n 5 "$dir/log" >&2; exit 1; }
    if (exec 3<>"/dev/tcp/${address%:*}/${address#*:}") 2>/dev/null; then
      echo "$address"
      return
    fi
    sleep 0.1
  done
  say "the broker does not listen at $address after 30 s; see $dir/log"
  exit 1
}

down() {
  if running; then
    local pid
    pid=$(cat "$dir/pid")
    kill "$pid" 2>/dev/null || true
    for _ in $(seq 100); do kill -0 "$pid" 2>/dev/null || break; sleep 0.1; done
    kill -9 "$pid" 2>/dev/null || true
  fi
  rm -f "$dir/pid"
}

case "${1:-}" in
  start) start ;;
  env) echo "export LAMINAR_TEST_KAFKA=$(start)" ;;
  fetch) fetch ;;
  down) down ;;
  stop) down; rm -rf "$dir" ;;
  *) sed -n '2,14s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac
