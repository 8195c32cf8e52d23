# Shared by the scripts of this folder: where the packages are kept, and how
# they are called. Sourced, never run; changes nothing but variables.

interop_here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
interop_root=$(cd "$interop_here/../.." && pwd)

# The cache lives outside the source tree proper; `cargo clean` removes it.
GGEND_INTEROP_DIR=${GGEND_INTEROP_DIR:-$interop_root/target/interop}
mkdir -p "$GGEND_INTEROP_DIR"
GGEND_INTEROP_DIR=$(cd "$GGEND_INTEROP_DIR" && pwd)
export GGEND_INTEROP_DIR

interop_node=$GGEND_INTEROP_DIR/node22/node_modules/node/bin
interop_python=$GGEND_INTEROP_DIR/python/venv/bin/python3
interop_everything=$GGEND_INTEROP_DIR/everything/node_modules/@modelcontextprotocol/server-everything/dist/index.js
export PATH="$interop_node:$PATH"

# A client must never take a loopback address through a proxy.
export NO_PROXY=127.0.0.1,localhost no_proxy=127.0.0.1,localhost
# Nothing here may pause to ask whether a newer version exists.
export NO_UPDATE_NOTIFIER=1 npm_config_update_notifier=false PIP_DISABLE_PIP_VERSION_CHECK=1
