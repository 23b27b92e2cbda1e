#include "cmd/hull-vmm/file_server.h"
#include "microvm/virtio.h"
int file_server_main(int argc, char **argv)
{
	(void)argc;
	(void)argv;
	return 1;
}
struct virtio_device *virtio_fs_new(int server, const char *tag, const struct guest_memory *memory,
				    struct loop *loop, struct error *err);
struct virtio_device *virtio_fs_new(int server, const char *tag, const struct guest_memory *memory,
				    struct loop *loop, struct error *err)
{
	(void)server;
	(void)tag;
	(void)memory;
	(void)loop;
	error_set(err, ENOSYS, "no fs");
	return 0;
}
