#!/bin/sh
# Serve the champion of a registered model; serve another one as soon as it is promoted.
#
#     sh docs/examples/serve_champion.sh digits-inpainter 5601
#
# It asks the registry once a minute (SECONDS_BETWEEN). While the registry is down, what runs goes on.
set -u
name=$1 port=$2 served='' server=''

champion() {
    python -c 'import sys, mlflow
print(mlflow.MlflowClient().get_model_version_by_alias(sys.argv[1], "champion").version)' "$name" 2>/dev/null
}
stop() { [ -z "$server" ] || { kill "$server" 2>/dev/null; wait "$server" 2>/dev/null; }; }
trap 'stop; exit 0' INT TERM

while :; do
    now=$(champion) || now=$served
    if [ "$now" != "$served" ]; then
        stop
        echo "serving $name version $now"
        # The number, not the alias: a server that is restarted for another reason serves the same version again.
        mlflow models serve --model-uri "models:/$name/$now" --env-manager local --host 127.0.0.1 --port "$port" &
        server=$! served=$now
    fi
    sleep "${SECONDS_BETWEEN:-60}" &
    wait $!
done
