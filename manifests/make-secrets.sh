#!/usr/bin/env bash
# Makes the Secrets of an installation with random values, each a folder with a file a key.
#
#   make-secrets.sh [FOLDER]           writes what is not there yet; FOLDER is manifests/secrets
#   make-secrets.sh --apply [FOLDER]   and puts them into the cluster that kubectl talks to:
#                                      in NAMESPACE (actverse), for the pipelines' pods in
#                                      PIPELINES_NAMESPACE (kubeflow)
#
# Values of your own servers: write them into the files before, or change them after.
set -euo pipefail
umask 077

apply=
if [[ ${1:-} == --apply ]]; then apply=yes; shift; fi
folder=${1:-$(dirname "$0")/secrets}
namespace=${NAMESPACE:-actverse}
pipelines=${PIPELINES_NAMESPACE:-kubeflow}

# Letters and digits only: nothing to escape in a URL or a file.
random() { openssl rand -hex 24; }

put() {
  local path=$folder/$1
  [[ -e $path ]] && return
  mkdir -p "$(dirname "$path")"
  printf '%s' "$2" >"$path"
  # A container's user reads the single file; the folder keeps others out.
  chmod 0444 "$path"
}

of() { cat "$folder/$1"; }

mkdir -p "$folder"
chmod 0700 "$folder"

for key in ACTVERSE_API_KEY_SECRET ACTVERSE_WEBHOOK_SECRET; do put "actverse/$key" "$(random)"; done
put actverse-pipeline/pipeline-secret "$(random)"
put actverse-triton/control-key "$(random)"
for user in actverse-storage actverse-storage-reader; do
  put "$user/AWS_ACCESS_KEY_ID" "$(openssl rand -hex 10)"
  put "$user/AWS_SECRET_ACCESS_KEY" "$(random)"
done
for key in POSTGRES ACTVERSE MLFLOW LABEL_STUDIO; do put "actverse-postgres/${key}_PASSWORD" "$(random)"; done

put actverse-rabbitmq/user.conf "default_user = actverse
default_pass = $(random)
"
put actverse-redis/redis.conf "requirepass $(random)
"
rabbitmq=$(sed -n 's/^default_pass = //p' "$folder/actverse-rabbitmq/user.conf")
redis=$(sed -n 's/^requirepass //p' "$folder/actverse-redis/redis.conf")
put actverse/ACTVERSE_DATABASE_URL \
  "postgresql+psycopg://actverse:$(of actverse-postgres/ACTVERSE_PASSWORD)@postgres:5432/actverse"
put actverse/ACTVERSE_BROKER_URL "amqp://actverse:$rabbitmq@rabbitmq:5672//"
put actverse/ACTVERSE_EVENTS_URL "amqp://actverse:$rabbitmq@rabbitmq:5672//"
put actverse/ACTVERSE_REDIS_URL "redis://:$redis@redis:6379/0"

put actverse-mlflow/MLFLOW_BACKEND_STORE_URI \
  "postgresql+psycopg://mlflow:$(of actverse-postgres/MLFLOW_PASSWORD)@postgres:5432/mlflow"
# A Fernet key: 32 bytes in the alphabet of URLs.
put actverse-mlflow/MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY "$(openssl rand -base64 32 | tr '+/' '-_')"

put actverse-label-studio/POSTGRE_PASSWORD "$(of actverse-postgres/LABEL_STUDIO_PASSWORD)"
put actverse-label-studio/LABEL_STUDIO_PASSWORD "$(random)"
put actverse-label-studio/LABEL_STUDIO_USER_TOKEN "$(openssl rand -hex 20)"
put actverse-label-studio/SECRET_KEY "$(random)"

identity() {
  printf '{"name":"%s","credentials":[{"accessKey":"%s","secretKey":"%s"}],"actions":[%s]}' \
    "$1" "$(of "$1/AWS_ACCESS_KEY_ID")" "$(of "$1/AWS_SECRET_ACCESS_KEY")" "$2"
}
put actverse-s3/s3.json "{\"identities\":[$(identity actverse-storage '"Admin"'),$(identity actverse-storage-reader '"Read","List"')]}"

# For compose.yaml: the same values in the forms that these programs read.
lines() { for key in "$folder/$1"/*; do printf '%s=%s\n' "$(basename "$key")" "$(cat "$key")"; done; }
put compose/mlflow.env "$(lines actverse-mlflow; lines actverse-storage)"
put compose/label-studio.env "$(lines actverse-label-studio; lines actverse-storage-reader)"
put compose/triton.env "$(lines actverse-storage-reader)
CONTROL_KEY=$(of actverse-triton/control-key)"
put compose/aws-credentials "[default]
aws_access_key_id = $(of actverse-storage/AWS_ACCESS_KEY_ID)
aws_secret_access_key = $(of actverse-storage/AWS_SECRET_ACCESS_KEY)
"

[[ -n $apply ]] || exit 0
send() {
  kubectl --namespace "$1" create secret generic "$2" --from-file="$folder/$2" \
    --dry-run=client --output yaml | kubectl apply --filename -
}
for secret in "$folder"/actverse*; do send "$namespace" "$(basename "$secret")"; done
for secret in actverse-storage actverse-pipeline; do send "$pipelines" "$secret"; done
