#!/bin/sh
# Runs a command with what this builder's package index needs. Both are secrets of the build,
# which no layer keeps: "ca", the certificates to verify it with, and "index", its URL.
if [ -s /run/secrets/ca ]; then
  export SSL_CERT_FILE=/run/secrets/ca PIP_CERT=/run/secrets/ca
fi
if [ -s /run/secrets/index ]; then
  UV_DEFAULT_INDEX=$(cat /run/secrets/index)
  export UV_DEFAULT_INDEX PIP_INDEX_URL="$UV_DEFAULT_INDEX"
fi
exec "$@"
