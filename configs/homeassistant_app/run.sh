#!/usr/bin/with-contenv bashio
# Starts smolwatch within Home Assistant. /config is the app's folder that users see
# (addon_configs), /data is its own.
set -euo pipefail

CONFIG="${CONFIG_DIR:-/config}/$(bashio::config 'config_file')"
DATA="${DATA_DIR:-/data}"

# {NAME} in the configuration: what is entered in the app's options, and the broker's password.
for i in $(bashio::config 'secrets|keys'); do
    name="$(bashio::config "secrets[${i}].name")"
    value="$(bashio::config "secrets[${i}].value")"
    export "${name}=${value}"
done
HAS_MQTT=false
if bashio::services.available 'mqtt'; then
    HAS_MQTT=true
    MQTT_PASSWORD="${MQTT_PASSWORD:-$(bashio::services 'mqtt' 'password')}"
    export MQTT_PASSWORD
fi

if ! bashio::fs.file_exists "${CONFIG}"; then
    bashio::log.info "There is no ${CONFIG} yet: one with a drawn camera is made. Put yours in."
    {
        echo '# smolwatch: edit this, then restart the app. Its documentation says how.'
        echo '# bundled knows drawn scenes only; for real cameras: 256m, 500m or 2.2b.'
        echo 'model: {name: bundled, threads: 1}'
        if [ "${HAS_MQTT}" = true ]; then
            echo 'mqtt:'
            echo "  broker: $(bashio::services 'mqtt' 'host')"
            echo "  port: $(bashio::services 'mqtt' 'port')"
            echo "  username: $(bashio::services 'mqtt' 'username')"
            echo '  password: "{MQTT_PASSWORD}"   # the Supervisor gives it'
            echo "  tls: $(bashio::services 'mqtt' 'ssl')"
        fi
        echo 'cameras:'
        echo '  # porch: {source: "rtsp://user:{PORCH_PASSWORD}@10.0.0.5/stream2"}'
        echo '  drawn: {source: "scene://porch"}'
        echo 'rules:'
        echo '  package: {ask: "Was a package delivered?"}'
    } > "${CONFIG}"
fi
if [ "${HAS_MQTT}" = false ]; then
    bashio::log.warning 'No MQTT broker: install the Mosquitto app, or name yours under mqtt:.'
fi

mkdir -p "${DATA}/state" "${DATA}/cache" "${DATA}/run"
chown -R smolwatch: "${DATA}/state" "${DATA}/cache" "${DATA}/run"
export STATE_DIRECTORY="${DATA}/state" CACHE_DIRECTORY="${DATA}/cache" RUNTIME_DIRECTORY="${DATA}/run"
export HF_HOME="${DATA}/cache/huggingface" XDG_CACHE_HOME="${DATA}/cache"
export TORCHINDUCTOR_CACHE_DIR="${DATA}/cache/inductor" HF_HUB_DISABLE_TELEMETRY=1
cd "${DATA}/state"
exec s6-setuidgid smolwatch /opt/smolwatch/bin/smolwatch run -c "${CONFIG}"
