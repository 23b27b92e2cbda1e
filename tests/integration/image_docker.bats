#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# Archives of `docker save`, as skopeo writes them: unpacked and pulled, plain and compressed, of old and new kinds. What is wrong with
# them is for tests/unit/test_image_docker.c.
# lab cgroups: none

bats_require_minimum_version 1.5.0
load image

setup()
{
	require_image_tools "owners" jq skopeo umoci
	store=$BATS_TEST_TMPDIR/store
	mkdir -p base/dir change/dir
	echo one >base/one
	head -c 2000000 /dev/urandom >base/random
	ln -s one base/link
	chown -R 5:6 base/dir
	touch change/dir/.wh.nothing change/.wh.one
	tar -C base -cf base.tar .
	tar -C change -cf change.tar dir .wh.one
	# One layer twice, for which there is a link.
	tar_image src "gzip -n" base.tar change.tar base.tar
	"$HULL" image unpack oci:src flat
}

image()
{
	local command=$1

	shift
	"$HULL" image "$command" --store "$store" "$@"
}

# save FILE NAME
save()
{
	skopeo copy --quiet --insecure-policy oci:src:latest "docker-archive:$1:$2"
}

# bats test_tags=quick
@test "an archive of docker save becomes the tree that the layout becomes" {
	save saved.tar example.org/group/name:v1
	gzip -k saved.tar
	zstd -q saved.tar -o saved.tar.zst
	for source in docker-archive:saved.tar docker-archive:saved.tar:example.org/group/name:v1 docker-archive:saved.tar:v1 \
		saved.tar saved.tar:v1 docker-archive:saved.tar.gz docker-archive:saved.tar.zst:@0; do
		rm -rf bundle
		"$HULL" image unpack "$source" bundle
		same_trees flat/rootfs bundle/rootfs
		cmp <(jq .process flat/config.json) <(jq .process bundle/config.json)
	done
	run -1 "$HULL" image unpack docker-archive:saved.tar:v2 other
	[[ $output == *"no such tag"*"example.org/group/name:v1"* ]]
	run -1 "$HULL" image unpack docker-archive:src other
	[[ $output == *"not a regular file"* ]]
	run -1 "$HULL" image unpack docker-archive:base.tar other
	[[ $output == *"no archive of \`docker save\`"*"manifest.json"* ]]
	run -1 "$HULL" image unpack ./base.tar other
	[[ $output == *"neither \`oci-layout\` nor \`manifest.json\`"* ]]
	[ ! -e other ]
}

@test "the paths and links of old versions of docker" {
	save saved.tar old:v1
	mkdir saved
	tar -C saved -xf saved.tar
	chmod -R u+w saved
	# Only what was there then: each layer beside its own `json`, or a link to another's.
	layers=$(cd saved && find . -name layer.tar -printf '%P %l\n' | jq -Rn '[inputs / " " | {path: .[0], file: .[1][3:]}]')
	jq --argjson links "$layers" '.[0].Layers |= [.[] as $l | first($links[] | select(.file == $l).path)]' saved/manifest.json \
		>manifest.json
	mv manifest.json saved/
	grep -q '/layer.tar' saved/manifest.json
	tar -C saved -cf old.tar .
	"$HULL" image unpack docker-archive:old.tar bundle
	same_trees flat/rootfs bundle/rootfs
}

@test "packed layers, and several images in one archive" {
	save saved.tar one:v1
	mkdir saved
	tar -C saved -xf saved.tar
	chmod -R u+w saved
	for layer in $(jq -r '.[0].Layers | unique[]' saved/manifest.json); do
		gzip -n "saved/$layer"
		mv "saved/$layer.gz" "saved/$layer"
	done
	jq '. + [.[0] | .RepoTags = ["two:v1", "two:latest"]]' saved/manifest.json >manifest.json
	mv manifest.json saved/
	tar -C saved -cf packed.tar .
	run -1 "$HULL" image unpack packed.tar bundle
	[[ $output == *"give a tag"*"one:v1, two:v1, two:latest"* ]]
	run -1 "$HULL" image unpack packed.tar:v1 bundle
	[[ $output == *"more than one image has this tag"* ]]
	for tag in two one:v1 latest @1; do
		rm -rf bundle
		"$HULL" image unpack "docker-archive:packed.tar:$tag" bundle
		same_trees flat/rootfs bundle/rootfs
	done
}

@test "what docker saves today is an OCI layout, too" {
	manifest=$(jq -r '.manifests[0].digest' src/index.json | cut -d: -f2)
	jq '[{Config: .config.digest, RepoTags: ["one:v1"], Layers: [.layers[].digest]}] |
		.[0].Config |= "blobs/" + sub(":"; "/") | .[0].Layers[] |= "blobs/" + sub(":"; "/")' \
		"src/blobs/sha256/$manifest" >src/manifest.json
	tar -C src -cf saved.tar .
	for source in saved.tar:latest docker-archive:saved.tar:one:v1 oci-archive:saved.tar; do
		rm -rf bundle
		"$HULL" image unpack "$source" bundle
		same_trees flat/rootfs bundle/rootfs
	done
	# As the latter it is the very image; packed layers keep their digests as the former.
	image pull oci-archive:saved.tar oci
	blobs=$(ls "$store/blobs/sha256" | wc -l)
	image pull docker-archive:saved.tar docker
	[ "$(ls "$store/blobs/sha256" | wc -l)" = $((blobs + 1)) ]
}

# bats test_tags=quick
@test "into the store, and out of it as a layout that other tools read" {
	save saved.tar example.org/group/name:v1
	image pull docker-archive:saved.tar
	image pull docker-archive:saved.tar:example.org/group/name:v1
	[ "$(image list --quiet)" = "$(printf 'example.org/group/name:v1\nsaved:latest')" ]
	image verify
	# The configuration is the archive's own, and its digest the image's id.
	id=$(tar -tf saved.tar | grep -x '[0-9a-f]\{64\}\.json')
	[ -e "$store/blobs/sha256/${id%.json}" ]
	image unpack saved bundle
	same_trees flat/rootfs bundle/rootfs
	image export saved oci:out:tag
	umoci unpack --image out:tag theirs >umoci.log 2>&1 || { cat umoci.log; return 1; }
	same_trees theirs/rootfs bundle/rootfs
	# A pull that is done again makes the same image.
	before=$(image list --format json | jq -r '.[].digest' | sort -u)
	rm -rf "$store"
	image pull saved.tar
	[ "$(image list --format json | jq -r '.[].digest')" = "$before" ]
}

@test "a layer that was changed is refused, and nothing of it is kept" {
	save saved.tar one:v1
	printf x | dd of=saved.tar bs=1 seek=1000000 conv=notrunc status=none
	run -1 image pull docker-archive:saved.tar
	[[ $output == *"another digest"* ]]
	[ -z "$(image list --quiet)" ]
	[ -z "$(ls "$store/tmp")" ]
	run -1 "$HULL" image unpack saved.tar bundle
	[ ! -e bundle ]
}
