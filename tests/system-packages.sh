#!/usr/bin/env bash
# Installs the system packages the tests use and pip cannot give. Without root it says what is missing; the tests then skip, naming it.
set -euo pipefail
packages=()
command -v gcc >/dev/null || packages+=(gcc libc6-dev)
command -v g++ >/dev/null || packages+=(g++)
command -v cmake >/dev/null || packages+=(cmake make)
command -v qemu-system-arm >/dev/null || packages+=(qemu-system-arm)
command -v qemu-system-riscv32 >/dev/null || packages+=(qemu-system-misc)
command -v arm-none-eabi-gcc >/dev/null || packages+=(gcc-arm-none-eabi)
command -v riscv64-unknown-elf-gcc >/dev/null || packages+=(gcc-riscv64-unknown-elf)
command -v chromium-headless-shell >/dev/null || command -v chromium >/dev/null || packages+=(chromium-headless-shell fonts-liberation)
command -v qemu-aarch64 >/dev/null || packages+=(qemu-user)
command -v mmdebstrap >/dev/null || packages+=(mmdebstrap debian-archive-keyring)
command -v ssh >/dev/null || packages+=(openssh-client)
command -v ffmpeg >/dev/null || packages+=(ffmpeg)
[ -x /usr/sbin/sshd ] || packages+=(openssh-server)
if [ ${#packages[@]} -eq 0 ]; then
    exit 0
fi
if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
    echo "missing: ${packages[*]} (install them as root: apt-get install ${packages[*]})"
    exit 0
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null
