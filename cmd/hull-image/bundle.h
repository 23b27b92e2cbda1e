/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Between hull and hull-image, for `hull run --image`: hull executes `hull-image bundle --reply FD …` with its end of
 * message_pair() as FD, and receives one message (base/message.h).
 */
#ifndef HULL_CMD_HULL_IMAGE_BUNDLE_H
#define HULL_CMD_HULL_IMAGE_BUNDLE_H

enum bundle_message {
	/*
	 * The bundle is there. Payload: its path, without NUL. Descriptors: the root file system, a mount that is attached nowhere; the
	 * bundle's directory with the lock by which the image store knows that it is used, until there is a state directory.
	 */
	BUNDLE_READY = 1,
	BUNDLE_FAILED, /* payload: struct error */
};

#endif
