#!/bin/sh
# Dumps the database of one service, as its owner role: dump.sh URL FILE
# The file is there as a whole or not at all. pg_dump must be as new as the server.
set -eu
url=$1 file=$2
pg_dump --format=custom --no-owner --no-comments --file="$file.part" "$url"
# What cannot be listed cannot be restored.
pg_restore --list "$file.part" >/dev/null
mv "$file.part" "$file"
