/* SPDX-License-Identifier: Apache-2.0 */
/* hull-vmm --file-server: the process behind a microVM's virtiofs (microvm/fs_server.h). */
#ifndef HULL_CMD_VMM_FILE_SERVER_H
#define HULL_CMD_VMM_FILE_SERVER_H

/* Returns the exit status. */
int file_server_main(int argc, char **argv);

#endif
