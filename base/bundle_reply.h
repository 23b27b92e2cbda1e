/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Between hull and hull-image, for `hull run --image`: hull executes `hull-image bundle --reply FD …` with its end of
 * message_pair() as FD, and receives one message (base/message.h). And for a checkpoint of such a container: `hull-image pack REPLY UPPER
 * OUT`, three descriptors, writes the directory of changes UPPER to OUT as a layer.
 */
#ifndef HULL_BASE_BUNDLE_REPLY_H
#define HULL_BASE_BUNDLE_REPLY_H

enum bundle_message {
	/*
	 * The bundle is there. Payload: its path, without NUL. Descriptors: the root file system, a mount that is attached nowhere; the
	 * bundle's directory with the lock by which the image store knows that it is used, until there is a state directory; and,
	 * where --user-namespace=N asked for it, the user namespace that the files belong to. The configuration has that as descriptor
	 * N of who reads it.
	 */
	BUNDLE_READY = 1,
	BUNDLE_FAILED, /* payload: struct error */
	BUNDLE_PACKED, /* the layer is written */
};

#endif
