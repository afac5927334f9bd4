# Run once by the image, when the data folder is empty: a database and a user of its own for each.
set -eu
for name in actverse mlflow label_studio; do
  file=${PASSWORDS:-/run/secrets}/$(echo "${name}_password" | tr '[:lower:]' '[:upper:]')
  psql --quiet --set ON_ERROR_STOP=1 --set name="$name" --set file="$file" \
    --username "${POSTGRES_USER:-postgres}" --dbname postgres <<'SQL'
\set password `cat :'file'`
CREATE ROLE :"name" LOGIN PASSWORD :'password';
CREATE DATABASE :"name" OWNER :"name";
REVOKE CONNECT ON DATABASE :"name" FROM PUBLIC;
SQL
done
