#!/usr/bin/env bash
# Does on a graphics card what people do with it, and prints one table: the quickstart, feature extraction and fine-tuning of
# MobileNetV2 on photos, forward passes of whole networks, and the same in PyTorch where it is installed. It takes less than five
# minutes on a card and builds nothing:
#
#   cargo build --release -p injerto-cli --features wgpu --bin injerto --example device
#   benches/gpu.sh [DATA]
#
# DATA holds train/ and validation/ with one folder of photos per class; without it, MobileNetV2 is not trained. These variables change
# the rest:
#
#   BIN      folder of the binary and examples/device; the default is target/release
#   DEVICES  devices to measure; the default is "wgpu". "flex" is the processor, for comparison
#   WORK     what is done; the default is "quickstart photos scratch forward torch"
#   NETWORKS networks of the forward passes; the default is "mobilenet_v2 inception_v3 vit_small"
#   PRECISIONS of the forward passes; the default is "f32 f16 bf16"
#   SET      further settings of the trainings, such as "backbone.precision=f16"
#   KERNELS  a folder in which tuned and compiled kernels stay after the script; a second call with it finds them
#   SMALL    if it is 1, only the quickstart and one forward pass run: a check on a driver without a card
#   PYTHON   the Python that has PyTorch, or nothing; the default is python3
#
# Without KERNELS they are tuned and compiled in a folder of this script's own, so the first rows pay for it, and say so. Tuning is what
# takes long: scripts with folders of their own can do it for several pieces of work at the same time.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

data=${1:-}
bin=${BIN:-target/release}
devices=${DEVICES:-wgpu}
small=${SMALL:-0}
work_list=" ${WORK:-quickstart photos scratch forward torch} "
python=${PYTHON-python3}
# The quickstart trains each of three seeds by transfer and from scratch, for twelve epochs.
shorter='' epochs=72
if [ "$small" = 1 ]; then
    shorter='--set phases.0.epochs=1 --set phases.1.epochs=1 --set transfer_gain.seeds=[123]' epochs=4
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# Weights that were fetched are used; everything else of the cache is new.
cache=${INJERTO_CACHE_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/injerto}
export INJERTO_CACHE_DIR=$work/cache
mkdir -p "$INJERTO_CACHE_DIR"
if [ -n "${KERNELS:-}" ]; then
    mkdir -p "$KERNELS"
    ln -s "$(realpath "$KERNELS")" "$INJERTO_CACHE_DIR/devices"
fi
if [ -d "$cache/weights" ]; then cp -r "$cache/weights" "$INJERTO_CACHE_DIR/"; fi

for needed in "$bin/injerto" "$bin/examples/device"; do
    if [ ! -x "$needed" ]; then
        echo "error: no $needed; the first lines of this script say how it is built" >&2
        exit 2
    fi
done

# Whether this piece of work was asked for.
asked() { [[ "$work_list" == *" $1 "* ]]; }
now() { date +%s.%N; }
since() { awk -v from="$1" -v to="$(now)" 'BEGIN { printf "%.1f", to - from }'; }

# The value of column $2 in the lines of phase $3 of a run's history: the first, the median, or the last of them ($4).
history() {
    awk -F, -v name="$2" -v phase="$3" -v which="$4" '
        NR == 1 { for (i = 1; i <= NF; i++) at[$i] = i; next }
        $at["phase"] == phase { all[++n] = $at[name] + 0 }
        END {
            if (which == "first") print all[1]
            else if (which == "last") print all[n]
            else {
                for (i = 2; i <= n; i++) for (j = i; j > 1 && all[j] < all[j - 1]; j--) { t = all[j]; all[j] = all[j - 1]; all[j - 1] = t }
                print all[int((n + 1) / 2)]
            }
        }' "$1/history.csv"
}

# Trains, and leaves what was said in $work/NAME.log. A failure is a row, and the other rows follow.
train() {
    local name=$1
    shift
    # shellcheck disable=SC2086 # several settings, or none
    if ! "$bin/injerto" train "$@" ${SET:+$(printf -- '--set %s ' $SET)} --run-dir "$work/$name" >"$work/$name.log" 2>&1; then
        echo "| $name | failed: $(tail -n 1 "$work/$name.log" | tr '|' '/') | | |"
        return 1
    fi
}

card=$(nvidia-smi --query-gpu=name,driver_version --format=csv,noheader 2>/dev/null | head -n 1 || true)
echo "card and driver: ${card:-unknown}; $(nproc) cores; $(date -u +%F)"
echo
echo "| work | on | result | note |"
echo "|---|---|---|---|"

for device in $devices; do
    for round in first again; do
        asked quickstart || continue
        start=$(now)
        # shellcheck disable=SC2086 # several arguments, or none
        if train "quickstart-$device-$round" configs/quickstart.toml --set device="$device" $shorter; then
            run=$work/quickstart-$device-$round
            echo "| quickstart, $epochs epochs of a small network, $round run | $device | $(since "$start") s |" \
                "val_loss $(history "$run" val_loss fine-tuning last) |"
        fi
    done

    if [ -n "$data" ] && [ "$small" != 1 ] && asked photos; then
        photos=$(find "$data" -type f \( -name '*.jpg' -o -name '*.jpeg' -o -name '*.png' \) | wc -l)
        for round in first again; do
            name=fine_tuning-$device-$round
            run=$work/$name
            start=$(now)
            # The second run shall not find the features of the first.
            rm -rf "$INJERTO_CACHE_DIR/features"
            if train "$name" configs/cats_vs_dogs/fine_tuning.toml --set device="$device" --set data.root="$data"; then
                all=$(since "$start")
                features=$(awk '$1 == "features" && $3 == "s" { print $2; exit }' "$work/$name.log")
                rate=$(awk -v n="$photos" -v s="$features" 'BEGIN { if (s > 0) printf "%.0f", n / s; else print "?" }')
                echo "| features of $photos photos once, $round run | $device | $rate images/s | $features s |"
                echo "| head on kept features, an epoch, $round run | $device |" \
                    "$(history "$run" seconds feature-extraction median) s |" \
                    "val_loss $(history "$run" val_loss feature-extraction last) |"
                echo "| fine-tuning from layer 100, an epoch, $round run | $device |" \
                    "$(history "$run" seconds fine-tuning median) s |" \
                    "first $(history "$run" seconds fine-tuning first) s, val_loss $(history "$run" val_loss fine-tuning last) |"
                echo "| both phases, whole command, $round run | $device | $all s | |"
            fi
        done
    fi
    if [ -n "$data" ] && [ "$small" != 1 ] && asked scratch; then
        name=scratch-$device
        if train "$name" configs/cats_vs_dogs/baseline_small.toml --set device="$device" --set data.root="$data" \
            --set 'phases.0.epochs=3'; then
            echo "| small CNN from scratch, an epoch | $device | $(history "$work/$name" seconds "$(awk -F, 'NR == 2 { print $2 }' \
                "$work/$name/history.csv")" median) s | loss of epoch 3: $(tail -n 1 "$work/$name/history.csv" | cut -d, -f3) |"
        fi
    fi

    forward() { "$bin/examples/device" "$device" "$@" 2>/dev/null || echo "| forward, $* | $device | failed | |"; }
    if [ "$small" = 1 ]; then
        forward mobilenet_v2 1 0
    elif asked forward; then
        for precision in ${PRECISIONS:-f32 f16 bf16}; do
            for network in ${NETWORKS:-mobilenet_v2 inception_v3 vit_small}; do
                batches="8 64"
                if [ "$network" = mobilenet_v2 ]; then batches="32 256"; fi
                for batch in $batches; do forward "$network" "$batch" 2 "$precision"; done
            done
        done
    fi
done

if [ "$small" != 1 ] && asked torch && [ -n "$python" ] && "$python" -c 'import torch, torchvision' 2>/dev/null; then
    # shellcheck disable=SC2086 # without a folder there is no argument
    "$python" benches/peers/torch_device.py ${data:+"$data"} 2>/dev/null || echo "| PyTorch | failed | | |"
fi
