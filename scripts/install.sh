#!/usr/bin/env bash
# Installs what a fresh Debian machine is missing to build and run LaminarDB; `--kafka` also what a real Kafka needs
# (scripts/kafka.sh), `--tests` all that the tests need. Idempotent.
set -euo pipefail

wanted=${1:-build}
case $wanted in
build | --kafka | --tests) ;;
*)
  echo "install: unknown option $wanted; use --kafka, --tests or nothing" >&2
  exit 2
  ;;
esac

packages=()
need() { command -v "$1" >/dev/null 2>&1 || packages+=("$2"); }
need gcc gcc
need g++ g++
need make make
need perl perl
need pkg-config pkg-config
# The commands that the demo shows to be pasted.
need psql postgresql-client
if [ "$wanted" != build ]; then
  need java default-jre-headless
  need mvn maven
  # scripts/kafka.sh finds free ports with it, and the end-to-end test is written in it.
  need python3 python3
fi
if [ "$wanted" = --tests ]; then
  # A real server for the tests of the PostgreSQL sink, which start one of their own; its programs are not on the PATH.
  ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || need initdb postgresql
fi
[ -e /usr/include/zlib.h ] || packages+=(zlib1g-dev)

if [ ${#packages[@]} -gt 0 ]; then
  if [ "$(id -u)" != 0 ]; then
    echo "install: missing ${packages[*]}; run: sudo apt-get install -y ${packages[*]}" >&2
    exit 1
  fi
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${packages[@]}"
fi

if ! command -v cargo >/dev/null 2>&1; then
  echo "install: no cargo on the PATH; install Rust with rustup (the version stands in rust-toolchain.toml)" >&2
  exit 1
fi
