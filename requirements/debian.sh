#!/usr/bin/env bash
# Installs the named Debian packages that are missing, or says the one command that does.
set -euo pipefail

command -v dpkg-query >/dev/null || exit 0
installed() {
  [[ $(dpkg-query --show --showformat='${Status}' "$1" 2>/dev/null) == "install ok installed" ]]
}
missing=()
for package in "$@"; do
  # Newer Ubuntu calls some of them …t64.
  installed "$package" || installed "${package}t64" || missing+=("$package")
done
((${#missing[@]})) || exit 0
if [[ $(id -u) -ne 0 ]]; then
  echo "System packages are missing; install them with:" >&2
  echo "  sudo apt-get install --yes --no-install-recommends ${missing[*]}" >&2
  exit 1
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update --quiet </dev/null
apt-get install --yes --quiet --no-install-recommends "${missing[@]}" </dev/null
