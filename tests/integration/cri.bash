# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# A client of the Container Runtime Interface, which is gRPC: protoc makes a message of its text and text of the answer,
# curl carries them. Load it after containerd.

# cri METHOD: sends the request whose text (protobuf's text format) is on standard input, and prints the answer's.
cri()
{
	local dir service=RuntimeService size status

	[[ $1 != Image* ]] || service=ImageService
	dir=$(mktemp -d "$TEST_DIR/cri.XXXXXX")
	protoc --proto_path "$BATS_TEST_DIRNAME" --encode "runtime.v1.$1Request" cri.proto >"$dir/message" || return
	# A message of gRPC: a byte that says "not compressed", four with the length, the highest first.
	size=$(printf %08x "$(stat -c %s "$dir/message")")
	{
		printf '\0'
		for byte in "${size:0:2}" "${size:2:2}" "${size:4:2}" "${size:6:2}"; do printf '%b' "\\x$byte"; done
		cat "$dir/message"
	} >"$dir/request"
	curl --silent --show-error --max-time 120 --http2-prior-knowledge --unix-socket "$DIR/c.sock" \
		--header 'content-type: application/grpc' --header 'te: trailers' --data-binary "@$dir/request" \
		--dump-header "$dir/headers" --output "$dir/answer" "http://localhost/runtime.v1.$service/$1" || return
	status=$(sed -n 's/^grpc-status: \([0-9]*\).*/\1/p' "$dir/headers")
	if [ "$status" != 0 ]; then
		# A message is percent-encoded.
		printf '%b\n' "$(sed -n 's/^grpc-message: //p' "$dir/headers" | tr -d '\r' | sed 's/%\(..\)/\\x\1/g')" >&2
		return 1
	fi
	tail -c +6 "$dir/answer" | protoc --proto_path "$BATS_TEST_DIRNAME" --decode "runtime.v1.$1Response" cri.proto
	rm -r "$dir"
}

# The value of a field in an answer: cri_field NAME <<<"$answer"
cri_field()
{
	local value

	value=$(sed -n "s/^ *$1: //p" | head -n 1)
	value=${value#\"}
	value=${value%\"}
	printf '%b' "${value//\\\"/\"}"
}

# A list of strings as a repeated field's text: cri_list NAME [VALUE...]
cri_list()
{
	local name=$1

	shift
	# shellcheck disable=SC2016 # jq's variable, not the shell's
	jq --raw-output --null-input --arg name "$name" '$ARGS.positional[] | "\($name): \(tojson)"' --args -- "$@"
}

# What the test's pod is, for all requests that have to repeat it. POD_LINUX and POD_SECURITY are text to add, and
# NAMESPACES says which are not as a kubelet has them.
cri_pod_config()
{
	cat <<-TEXT
		metadata { name: "$ID" uid: "$ID" namespace: "tests" }
		$([[ ${NAMESPACES:-} = *NODE* ]] || echo 'hostname: "pod"')
		log_directory: "$TEST_DIR/logs"
		linux {
			cgroup_parent: "$CGROUP_PARENT"
			security_context { namespace_options { ${NAMESPACES:-pid: CONTAINER} } ${POD_SECURITY:-} }
			${POD_LINUX:-}
		}
	TEXT
}

# Runs the test's pod, and sets POD.
cri_run_pod()
{
	POD=$(cri RunPodSandbox <<<"config { $(cri_pod_config) } runtime_handler: \"hull\"" | cri_field pod_sandbox_id)
	[ -n "$POD" ]
}

# Creates a container in it, and sets CONTAINER: cri_create NAME CONFIG COMMAND... CONFIG is text, and so are RESOURCES,
# SECURITY and NAMESPACES.
cri_create()
{
	local name=$1 config=$2

	shift 2
	CONTAINER=$(cri CreateContainer <<-TEXT | cri_field container_id
		pod_sandbox_id: "$POD"
		config {
			metadata { name: "$name" }
			image { image: "$IMAGE" }
			log_path: "$name.log"
			$(cri_list command "$@")
			$config
			linux {
				resources { ${RESOURCES:-} }
				security_context { namespace_options { ${NAMESPACES:-pid: CONTAINER} } ${SECURITY:-} }
			}
		}
		sandbox_config { $(cri_pod_config) }
	TEXT
	)
	[ -n "$CONTAINER" ]
}

# Creates and starts.
cri_start()
{
	cri_create "$@"
	cri StartContainer <<<"container_id: \"$CONTAINER\""
}

# Runs a command in CONTAINER: after `run cri_exec COMMAND...`, status and output are the command's.
cri_exec()
{
	local answer code

	answer=$(cri ExecSync <<<"container_id: \"$CONTAINER\" timeout: 60 $(cri_list cmd "$@")") || return 255
	cri_field stdout <<<"$answer"
	cri_field stderr <<<"$answer"
	code=$(cri_field exit_code <<<"$answer")
	return "${code:-0}"
}

# A field of CONTAINER's status; the answer leaves out what is 0 or the first of its kind.
cri_status()
{
	cri ContainerStatus <<<"container_id: \"$CONTAINER\"" | cri_field "$1"
}
