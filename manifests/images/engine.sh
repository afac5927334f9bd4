#!/usr/bin/env bash
# A Docker engine and a base image for a machine that has neither, nor an image registry.
#
#   engine.sh up     starts an engine of its own, unless one answers already; installs from
#                    Debian's packages what that needs
#   engine.sh env    the variables that lead Docker's client and `make images` to it, to be
#                    evaluated by a shell
#   engine.sh base   makes a base image in it, unless it is there or the images' own can be had
#   engine.sh down   ends the engine that "up" has started and removes its folder
#
# Everything lies in the folder ACTVERSE_ENGINE. The engine leaves this machine's network
# alone, so containers and builds use the host's (--network=host). Without root, or where an
# engine cannot start, "up" says why and ends with 3.
set -euo pipefail

folder=${ACTVERSE_ENGINE:-/var/tmp/actverse-engine}
base=${ACTVERSE_ENGINE_BASE:-actverse/base:bookworm}
suite=bookworm
skip=3

say() { echo "engine: $*" >&2; }

own_engine() { [[ -f $folder/dockerd.pid ]] && kill -0 "$(<"$folder/dockerd.pid")" 2>/dev/null; }

# Docker's newer clients build with a plug-in that may be missing; Debian's needs none.
client() { if [[ -x /usr/bin/docker ]]; then echo /usr/bin/docker; else command -v docker; fi; }

lead() {
  if own_engine; then export DOCKER_HOST=unix://$folder/docker.sock; fi
}

install() {
  local missing=()
  for package in "$@"; do
    dpkg -s "$package" >/dev/null 2>&1 || missing+=("$package")
  done
  ((${#missing[@]})) || return 0
  apt-get update -qq && apt-get install -y -qq --no-install-recommends "${missing[@]}" >&2
}

up() {
  if own_engine; then say "it runs already"; return; fi
  if command -v docker >/dev/null && docker info >/dev/null 2>&1; then
    say "the engine of this machine is used"
    return
  fi
  if ((EUID)) || ! command -v apt-get >/dev/null; then
    say "no engine answers, and starting one needs root and Debian's packages"
    exit $skip
  fi
  if ! command -v dockerd >/dev/null && ! install docker.io iptables; then
    say "docker.io cannot be installed"
    exit $skip
  fi
  mkdir -p "$folder"
  setsid dockerd \
    --host "unix://$folder/docker.sock" --pidfile "$folder/dockerd.pid" \
    --data-root "$folder/data" --exec-root "$folder/exec" \
    --bridge none --iptables=false --ip6tables=false \
    >"$folder/dockerd.log" 2>&1 </dev/null &
  for _ in $(seq 120); do
    if DOCKER_HOST=unix://$folder/docker.sock "$(client)" info >/dev/null 2>&1; then
      say "up: $(DOCKER_HOST=unix://$folder/docker.sock "$(client)" version --format '{{.Server.Version}}')"
      return
    fi
    kill -0 $! 2>/dev/null || break
    sleep 0.5
  done
  say "dockerd does not start:"
  tail -n 5 "$folder/dockerd.log" >&2
  down
  exit $skip
}

env_of() {
  lead
  # Without an engine there is nothing to lead to.
  DOCKER_HOST=${DOCKER_HOST:-} "$(client)" info >/dev/null 2>&1 || return 0
  [[ -z ${DOCKER_HOST:-} ]] || echo "export DOCKER_HOST=$DOCKER_HOST"
  echo "export DOCKER=$(client)"
  ! own_engine || echo "export BUILD_FLAGS=--network=host"
  ! "$(client)" image inspect "$base" >/dev/null 2>&1 || echo "export BASE=$base"
}

make_base() {
  lead
  if "$(client)" image inspect "$base" >/dev/null 2>&1; then say "$base is there"; return; fi
  local own
  own=$(sed -n 's/^ARG BASE=//p' "$(dirname "$0")/Containerfile")
  if timeout 300 "$(client)" pull --quiet "$own" >/dev/null 2>&1; then say "$own is there"; return; fi
  say "no registry gives $own: $base is made of Debian's packages"
  install debootstrap
  local root=$folder/root
  rm -rf "$root"
  mkdir -p "$root"
  debootstrap --variant=minbase --include=ca-certificates,netbase,python3,python3-venv,tzdata \
    "$suite" "$root" >"$folder/debootstrap.log" 2>&1 || { tail "$folder/debootstrap.log" >&2; exit 1; }
  rm -rf "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/* "$root"/var/log/* \
    "$root"/usr/share/{doc,man,info,locale}/*
  tar -C "$root" -c . | "$(client)" import --change 'CMD ["python3"]' - "$base" >/dev/null
  rm -rf "$root"
  say "$base: $("$(client)" image inspect --format '{{.Size}}' "$base") bytes"
}

down() {
  if own_engine; then
    local pid
    pid=$(<"$folder/dockerd.pid")
    # It stops its containers and its containerd itself.
    kill "$pid"
    for _ in $(seq 120); do
      kill -0 "$pid" 2>/dev/null || break
      sleep 0.5
    done
    ! kill -0 "$pid" 2>/dev/null || kill -KILL -- "-$pid"
  fi
  [[ -d $folder ]] || return 0
  awk -v below="$(realpath "$folder")/" 'index($5, below) == 1 { print $5 }' /proc/self/mountinfo |
    sort -r | xargs --no-run-if-empty umount --lazy
  rm -rf "$folder"
}

case ${1:-} in
up) up ;;
env) env_of ;;
base) make_base ;;
down) down ;;
*)
  sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//p}' "$0"
  exit 2
  ;;
esac
