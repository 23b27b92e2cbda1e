/* SPDX-License-Identifier: Apache-2.0 */
/* Descriptors of nodes, for fs_node.c only: who has one, who gives it up, and what a node is recognised by. */
#ifndef HULL_MICROVM_FS_NODE_FD_H
#define HULL_MICROVM_FS_NODE_FD_H

#include "microvm/fs_node.h"

/* STATX_BTIME in nanoseconds; 0 where the file system has none. */
int64_t fs_node_birth(const struct statx *stx);

/* Whether these are the attributes of the node's file. */
bool fs_node_is(const struct fs_node *node, const struct statx *stx);

/* Of fs_node.c: a restored node is the file with these attributes; and a node has no name any more. */
void fs_node_identify(struct fs_nodes *nodes, struct fs_node *node, const struct statx *stx);
void fs_node_lose_name(struct fs_nodes *nodes, struct fs_node *node);

/* The node (without one) gets the descriptor; others may have to give up theirs. */
void fs_node_install(struct fs_nodes *nodes, struct fs_node *node, int fd);
void fs_node_close(struct fs_nodes *nodes, struct fs_node *node);

/* Where it has a descriptor: keeps it, if there are not too many already; and is like others again. */
void fs_node_pin(struct fs_nodes *nodes, struct fs_node *node);
void fs_node_unpin(struct fs_nodes *nodes, struct fs_node *node);

#endif
