/* SPDX-License-Identifier: Apache-2.0 */
/* hull-vmm as a file server, a process of its own: `hull-vmm --file-server fd:N …`. */
#ifndef HULL_CMD_HULL_VMM_FILE_SERVER_H
#define HULL_CMD_HULL_VMM_FILE_SERVER_H

/* The whole program, from the command line on. Returns the exit status. */
int file_server_main(int argc, char **argv);

#endif
