#!/bin/sh
# Restores a dump into an empty database, as its owner role: restore.sh URL FILE
# The app role and the system role of the service must be there. All is restored, or nothing.
# Then: python -m kontor_<service> migrate, and python -m kontor_<service> restored; see docs/operations/backup.md.
set -eu
url=$1 file=$2
pg_restore --no-owner --exit-on-error --single-transaction --dbname="$url" "$file"
# Statistics are not in a dump of a server before 18; without them, plans are guesses.
psql --no-psqlrc --quiet --set=ON_ERROR_STOP=1 --command="ANALYZE" "$url"
