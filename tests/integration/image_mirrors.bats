#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# Pulls that do not go straight: by way of mirrors, in two goes, and into a store that is damaged.
# lab cgroups: none

# shellcheck disable=SC2154 # registry.bash sets them
bats_require_minimum_version 1.5.0
load helpers
load image
load registry

setup()
{
	registry_setup
	export XDG_CONFIG_HOME=$TEST_DIR/config
	mkdir -p "$XDG_CONFIG_HOME/hull"
}

teardown()
{
	registry_teardown
}

# ---- mirrors ----

# configure JSON: for `upstream`, a registry that was started before.
configure()
{
	jq -n --arg prefix "$upstream/group" --argjson more "$1" '{registries: [{prefix: $prefix} + $more]}' \
		>"$XDG_CONFIG_HOME/hull/registries.json"
}

# Starts the registry itself, which does that, and then a mirror with that behaviour: `upstream` and `registry`. Their requests
# are in $TEST_DIR/upstream.requests and $requests.
start_both()
{
	requests=$TEST_DIR/upstream.requests
	hostile "$1"
	upstream=$registry
	requests=$TEST_DIR/requests
	hostile "$2"
	configure "{\"mirrors\": [{\"location\": \"$registry/copies/of\", \"plainHttp\": true}]}"
}

pull()
{
	image pull --plain-http --no-layers "docker://$upstream/group/image:v1" mine
}

pulled()
{
	local line

	line=$(image verify)
	[[ $line == *" 0 problems" ]] || fail "$line"
	rm -rf "$BUNDLE"
	image unpack mine "$BUNDLE"
	same_as_layout
	[ -z "$(ls "$store/tmp")" ] || fail "$(ls "$store/tmp")"
}

# bats test_tags=quick
@test "a mirror that has everything is asked, and the registry is not" {
	make_layers 2
	start_both normal normal
	"$HULL" image unpack --plain-http "docker://$upstream/group/image:v1" "$BUNDLE"
	same_as_layout
	pull
	pulled
	grep -q '/v2/copies/of/image/manifests/v1 ' "$requests"
	grep -q '/v2/copies/of/image/blobs/' "$requests"
	[ ! -s "$TEST_DIR/upstream.requests" ]
}

@test "a mirror that fails is warned about once, and the registry asked" {
	local behaviour

	make_layers 3
	for behaviour in gone:'no image' always-busy:'status 503' html:'manifest' corrupt:'something else' half:'given up after 2' \
		file-redirect:'not taken'; do
		stop_servers
		start_both normal "${behaviour%%:*}"
		pull >"$TEST_DIR/pull.out" 2>&1 || fail "$behaviour" "$(cat "$TEST_DIR/pull.out")"
		[ "$(grep -c "the mirror .$registry. is not asked any more: .*${behaviour#*:}" "$TEST_DIR/pull.out")" = 1 ] ||
			fail "$behaviour" "$(cat "$TEST_DIR/pull.out")"
		[ "$(grep -c warning "$TEST_DIR/pull.out")" -le 1 ] || fail "$(cat "$TEST_DIR/pull.out")"
		pulled
		rm -r "$store"
	done
	# Where the connection broke, the registry is asked for the rest.
	stop_servers
	start_both normal half
	rm -rf "$BUNDLE"
	unpack --plain-http "docker://$upstream/group/image:v1"
	same_as_layout
	grep -q 'range=bytes=[1-9]' "$TEST_DIR/upstream.requests"
}

@test "mirrors are asked in their order, with credentials of their own" {
	make_layers 1
	start_both token normal
	configure "{\"mirrors\": [{\"location\": \"localhost:$(free_port)\", \"plainHttp\": true},
		{\"location\": \"$registry/second\", \"plainHttp\": true}]}"
	registry=$upstream
	log_in user:secret
	pull >"$TEST_DIR/pull.out" 2>&1
	pulled
	grep -q 'is not asked any more: .*connect' "$TEST_DIR/pull.out"
	grep -q '/v2/second/image/manifests/v1 .*authorization=None' "$requests"
	! grep -q 'authorization=[^N]' "$requests" || fail "$(cat "$requests")"
	[ ! -s "$TEST_DIR/upstream.requests" ]
	# A mirror has TLS unless the configuration says otherwise, whatever the command line says of the registry.
	configure "{\"mirrors\": [{\"location\": \"${registry/localhost/127.0.0.1}\"}]}"
	rm -r "$store"
	run pull
	[ "$status" = 0 ]
	[[ $output == *"is not asked any more: "*"TLS"* ]]
}

@test "a mirror with TLS and a password, of a registry that is away" {
	make_image "$TEST_DIR/image"
	start_registry tls password
	push --dest-creds user:secret
	upstream=localhost:$(free_port)
	configure "{\"mirrors\": [{\"location\": \"$registry/group\"}]}"
	run image pull "docker://$upstream/group/image" mine
	expect_error "connect to .$upstream"
	[[ $output == *"the mirror \`$registry\` is not asked any more: "*"cannot be verified"* ]]
	trust
	log_in user:secret
	image pull "docker://$upstream/group/image" mine 2>"$TEST_DIR/pull.out"
	! grep warning "$TEST_DIR/pull.out" || fail "$(cat "$TEST_DIR/pull.out")"
	pulled
}

@test "what is blocked is not asked for, and a wrong configuration is an error" {
	local wrong

	make_layers 1
	start_both normal normal
	configure "{\"blocked\": true, \"mirrors\": [{\"location\": \"$registry\", \"plainHttp\": true}]}"
	run pull
	expect_error "$upstream/group/image. is blocked by .*registries.json"
	for wrong in '{"mirors": []}' '{"mirrors": [{}]}' '{"mirrors": [{"location": "nohost"}]}' '{"blocked": "yes"}' \
		'{"mirrors": [{"location": "a.example", "insecure": true}]}'; do
		configure "$wrong"
		run pull
		expect_error "mirrors in .*registries.json"
	done
	[ ! -s "$requests" ]
	[ ! -s "$TEST_DIR/upstream.requests" ]
}

# ---- in two goes ----

# Pulls from a server that stalls, and kills the pull when it has the larger part of a layer. `large`: what is there of it.
kill_pull()
{
	local pid

	make_layers 1
	hostile stall
	"$HULL" image pull --store "$store" --plain-http --no-layers "docker://$registry/group/image" mine \
		>"$TEST_DIR/pull.out" 2>&1 3>&- &
	pid=$!
	wait_until 20 "[ -n \"\$(find '$store/tmp' -name 'blob-sha256-*' -size +1000k)\" ]"
	kill -"$1" $pid
	wait $pid || true
	stop_servers
	large=$(find "$store/tmp" -name 'blob-sha256-*' -size +1000k)
	[ -n "$large" ]
	[ "$(image verify)" = "0 blobs, 0 layers, 0 images: 0 problems" ]
	[ -e "$large" ]
}

pull_again()
{
	hostile "$1"
	upstream=$registry
	pull
	pulled
}

@test "a mirror for digests only is not asked what a tag means" {
	make_layers 2
	start_both normal wrong-digest
	configure "{\"mirrors\": [{\"location\": \"$registry\", \"plainHttp\": true, \"digestsOnly\": true}]}"
	pull
	pulled
	[ "$(grep -c /manifests/ "$TEST_DIR/upstream.requests")" = 1 ]
	! grep -q /manifests/v1 "$requests" || fail "$(cat "$requests")"
	stop_servers
	rm -r "$store"
	start_both normal normal
	configure "{\"mirrors\": [{\"location\": \"$registry\", \"plainHttp\": true, \"digestsOnly\": true}]}"
	pull
	pulled
	[ "$(wc -l <"$TEST_DIR/upstream.requests")" = 1 ]
	grep -q /blobs/ "$requests"
}

# bats test_tags=quick
@test "what a killed pull had of a blob is not fetched again" {
	kill_pull KILL
	pull_again normal
	[ "$(grep 'range=bytes=[1-9][0-9]\{6\}-' "$requests" | wc -l)" = 1 ]
}

@test "the same after a signal that lets it clean up, and from servers that know no ranges" {
	kill_pull TERM
	cp "$large" "$TEST_DIR/left"
	pull_again ignores-range
	grep -q 'range=bytes=[1-9]' "$requests"
	stop_servers
	rm -r "$store"
	image pull --no-layers "oci:$TEST_DIR/image:latest" other
	image remove other
	cp "$TEST_DIR/left" "$large"
	pull_again refuses-range
	grep -q 'range=bytes=[1-9]' "$requests"
}

@test "what is left of a blob is not trusted" {
	kill_pull KILL
	printf x | dd of="$large" bs=1 seek=5000 conv=notrunc status=none
	pull_again normal
	# From a layout, too; and more than the blob has, and all of it, right or wrong.
	cp "$store/blobs/sha256/${large##*-}" "$TEST_DIR/whole"
	for edit in 'cat "$TEST_DIR/whole" "$TEST_DIR/whole"' 'cat "$TEST_DIR/whole"' 'head -c 1000000 "$TEST_DIR/whole"' \
		'tail -c 1000000 "$TEST_DIR/whole"' 'tr a b <"$TEST_DIR/whole"'; do
		rm -rf "$store"
		image pull --no-layers "oci:$TEST_DIR/image:latest" other
		image remove other
		eval "$edit" >"$large"
		image pull --no-layers "oci:$TEST_DIR/image:latest" mine
		pulled
	done
}

@test "what is left of blobs is bounded, ends after a week, and prune removes it" {
	local i

	make_layers 1
	image pull --no-layers "oci:$TEST_DIR/image:latest" mine
	for ((i = 100; i < 140; i++)); do
		echo half >"$store/tmp/blob-sha256-$(printf "%064d" $i)"
	done
	image list
	[ "$(ls "$store/tmp" | wc -l)" = 16 ]
	image prune
	[ -z "$(ls "$store/tmp")" ]
	echo half >"$store/tmp/blob-sha256-$(printf "%064d" 1)"
	touch -d '8 days ago' "$store/tmp"/*
	: >"$store/tmp/blob-sha256-$(printf "%064d" 2)"
	echo half >"$store/tmp/blob-sha256-2"
	mkdir "$store/tmp/blob-sha256-$(printf "%064d" 3)"
	image list
	[ -z "$(ls "$store/tmp")" ]
}

# ---- damaged stores ----

# bats test_tags=quick
@test "a pull fetches anew what it finds damaged" {
	local blob

	make_layers 2
	tar_image "$TEST_DIR/image" cat "$TEST_DIR/layer0.tar" "$TEST_DIR/layer1.tar"
	image pull "oci:$TEST_DIR/image:latest" mine
	for blob in "$store"/blobs/sha256/*; do
		# Each in turn: another size, which is seen at once.
		echo more >>"$blob"
		run -1 image unpack mine "$BUNDLE"
		image pull "oci:$TEST_DIR/image:latest" mine
		pulled
		: >"$blob"
		image pull "oci:$TEST_DIR/image:latest" mine
		pulled
		# The same size is seen when the blob is read: a layer when it is unpacked.
		rm -rf "$store/layers"/*
		printf x | dd of="$blob" bs=1 seek=200 conv=notrunc status=none
		run image pull "oci:$TEST_DIR/image:latest" mine
		[ "$status" = 0 ]
		[[ $output == *"$(basename "$blob") in the image store was damaged, and is fetched anew"* ]]
		pulled
	done
}

@test "verify --repair removes what is damaged, and the next pull brings it" {
	local blob

	make_layers 3
	image pull "oci:$TEST_DIR/image:latest" mine
	image pull "oci:$TEST_DIR/image:latest" other
	blob=$(find "$store/blobs" -type f -size +1000k | head -n 1)
	printf x | dd of="$blob" bs=1 seek=5000 conv=notrunc status=none
	chmod 700 "$store"/layers/chain-*/tree/random0
	run -1 image verify
	[ -e "$blob" ]
	run -1 image verify --repair
	[[ $output == *"2 damaged blobs and layers removed"* ]]
	[ ! -e "$blob" ]
	[ "$(find "$store/layers" -mindepth 1 -maxdepth 1 | wc -l)" = 2 ]
	run -1 image verify
	[[ $output == *"image \`mine:latest\`"*"is missing"* ]]
	image pull "oci:$TEST_DIR/image:latest" mine
	pulled
	image verify --repair | grep -q '^0 damaged'
	run -1 image list --repair
	expect_error "takes no option --repair"
}

@test "a damaged layer that is mounted stays" {
	make_layers 1
	image pull "oci:$TEST_DIR/image:latest" mine
	mkdir "$TEST_DIR/mnt"
	image mount mine "$TEST_DIR/mnt"
	chmod 700 "$store"/layers/chain-*/tree/random0
	run image verify --repair
	umount_later=$(image umount "$TEST_DIR/mnt" 2>&1 || echo failed)
	[ "$status" = 1 ]
	[[ $output == *"is mounted: unmount it"*"0 damaged"* ]]
	[ -z "$umount_later" ]
	run -1 image verify --repair
	[[ $output == *"1 damaged"* ]]
	image pull "oci:$TEST_DIR/image:latest" mine
	pulled
}
