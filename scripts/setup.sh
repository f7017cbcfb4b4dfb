#!/usr/bin/env bash
# Installs what viseme needs beside Rust where it is missing: a Vulkan driver and ffmpeg. Says what it does, asks nothing.
# setup.sh [test]   `test` leaves a machine alone that has a Vulkan driver but no ffmpeg only after saying so.
set -euo pipefail
say() { printf 'setup: %s\n' "$*"; }

has_vulkan() {
  local dir
  [ -n "${VK_DRIVER_FILES:-}${VK_ICD_FILENAMES:-}" ] && return 0
  [ "$(uname -s)" = Darwin ] && return 0
  for dir in /usr/share/vulkan/icd.d /etc/vulkan/icd.d /usr/local/share/vulkan/icd.d "${HOME:-}/.local/share/vulkan/icd.d"; do
    compgen -G "$dir/*.json" > /dev/null && return 0
  done
  return 1
}
# wgpu opens the Vulkan loader at run time; the drivers' packages do not bring it everywhere.
has_loader() { [ "$(uname -s)" = Darwin ] || ldconfig -p 2> /dev/null | grep -q 'libvulkan\.so\.1' || compgen -G '/usr/lib/*/libvulkan.so.1' > /dev/null; }

command -v cargo > /dev/null || { say "Rust is missing: install it from https://rustup.rs"; exit 1; }

wanted=()
has_loader || wanted+=(libvulkan1)
has_vulkan || wanted+=(mesa-vulkan-drivers)
command -v ffmpeg > /dev/null || wanted+=(ffmpeg)
if [ ${#wanted[@]} -eq 0 ]; then
  say "a Vulkan driver and ffmpeg are here"
  exit 0
fi

if ! command -v apt-get > /dev/null; then
  say "missing: ${wanted[*]} (Debian's names); install them with this system's package manager"
  exit 1
fi
if [ "$(id -u)" -eq 0 ]; then
  run=()
elif sudo -n true 2> /dev/null; then
  run=(sudo -n)
else
  say "missing, and no right to install it; run: sudo apt-get install -y ${wanted[*]}"
  exit 1
fi
say "installing ${wanted[*]}"
"${run[@]}" apt-get update -qq
DEBIAN_FRONTEND=noninteractive "${run[@]}" apt-get install -y -qq --no-install-recommends "${wanted[@]}" > /dev/null
say "done"
