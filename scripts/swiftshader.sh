#!/usr/bin/env bash
# Fetches SwiftShader, a second and independent Vulkan driver, out of Debian's chromium-common into .cache/swiftshader,
# and prints the path of its ICD file. Nothing is installed.
set -euo pipefail
cd "$(dirname "$0")/.."
folder="$PWD/.cache/swiftshader"
icd="$folder/usr/lib/chromium/vk_swiftshader_icd.json"
if [ ! -f "$icd" ]; then
  command -v apt-get > /dev/null || { echo "swiftshader: needs Debian's apt-get and chromium-common" >&2; exit 1; }
  mkdir -p "$folder"
  if ! (cd "$folder" && apt-get download chromium-common > /dev/null 2>&1); then
    echo "swiftshader: the package list is old or missing, updating it" >&2
    apt-get update -qq
    (cd "$folder" && apt-get download chromium-common > /dev/null 2>&1)
  fi
  dpkg -x "$folder"/chromium-common_*.deb "$folder/all"
  mkdir -p "$(dirname "$icd")"
  cp "$folder"/all/usr/lib/chromium/{libvk_swiftshader.so,vk_swiftshader_icd.json} "$(dirname "$icd")"
  rm -rf "$folder/all" "$folder"/chromium-common_*.deb
fi
echo "$icd"
