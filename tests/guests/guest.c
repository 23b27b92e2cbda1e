// SPDX-License-Identifier: Apache-2.0
// A kernel of a few hundred bytes for tests of hull-vmm, which also runs where KVM does not run Linux. Its command line is what it
// does, a letter each, in turn:
//
//   e  writes to the serial port how it was entered: "pvh", "linux"
//   h  writes "hello"
//   i  writes the initrd's first line
//   c  writes the rest of the command line
//   m  writes what all 64-bit words of the memory map's RAM ranges sum to, in MiB: "ram N"
//   v  writes the first register of the first virtio-mmio device, and its device id: "virt N"
//   x  writes what is read where nothing is: port and address
//   n  writes how many ACPI tables the XSDT names
//   wN,M.  hammers registers, rings and buffers of all virtio devices at random, M thousand times, by the seed N: "hammered N"
//   b  writes "0" to "9" for ever, a line each
//   f  floods the serial port for ever
//   k  writes what a kernel writes when it panics, and resets the machine
//   s  spins for ever
//   p  switches off          (ACPI sleep control)
//   a  resets                (ACPI reset register)
//   r  resets                (keyboard controller)
//   q  writes one byte, and ends the machine in any monitor
//   t  triple fault
//
// Compiled with -m32 it has the note that makes it PVH, with -m64 it has Linux' 64-bit entry point and runs wherever it is loaded (at
// a multiple of the page size).
#include <stdbool.h>
#include <stdint.h>

#define COM1          0x3f8
#define SLEEP_CONTROL 0x600
#define RESET         0x602
#define I8042         0x64
#define MMIO          0xd0000000u

static uint8_t stack[8192] __attribute__((used, aligned(16)));

static void out8(uint16_t port, uint8_t value)
{
	__asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port));
}

static uint8_t in8(uint16_t port)
{
	uint8_t value;

	__asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
	return value;
}

static uint32_t peek32(uintptr_t address)
{
	uint32_t value;

	__asm__ volatile("movl (%1), %0" : "=r"(value) : "r"(address) : "memory");
	return value;
}

static uint64_t peek64(uintptr_t address)
{
	return peek32(address) | (uint64_t)peek32(address + 4) << 32;
}

static void put(const char *s)
{
	while (*s)
		out8(COM1, (uint8_t)*s++);
}

static void put_number(uint32_t n, uint32_t base)
{
	char digits[12], *p = digits + sizeof(digits) - 1;

	*p = '\0';
	do {
		*--p = "0123456789abcdef"[n % base];
		n /= base;
	} while (n);
	put(p);
}

static void put_line(const char *what, uint32_t n, uint32_t base)
{
	put(what);
	put_number(n, base);
	put("\n");
}

// ---- what the monitor told --------------------------------------------------------------------

struct told {
	const char *entry;
	uintptr_t cmdline, initrd, rsdp;
	uint32_t ram; // MiB
};

#ifdef __i386__

// struct hvm_start_info, and its modules and memory map.
static void read_info(uintptr_t info, struct told *told)
{
	uintptr_t map = (uintptr_t)peek64(info + 40);

	told->entry = peek32(info) == 0x336ec578 ? "pvh\n" : "pvh without its magic number\n";
	told->initrd = peek32(info + 12) ? (uintptr_t)peek64((uintptr_t)peek64(info + 16)) : 0;
	told->cmdline = (uintptr_t)peek64(info + 24);
	told->rsdp = (uintptr_t)peek64(info + 32);
	for (uint32_t i = 0; i < peek32(info + 48); i++)
		if (peek32(map + 24 * i + 16) == 1)
			told->ram += (uint32_t)((peek64(map + 24 * i + 8) + (1 << 19)) >> 20);
}

static void map_devices(void)
{
	// Nothing is mapped, so everything is where it is.
}

__asm__(".pushsection .note.xen, \"a\", @note\n"
	".long 4, 4, 18\n" // XEN_ELFNOTE_PHYS32_ENTRY
	".asciz \"Xen\"\n"
	".long _start\n"
	".popsection\n"
	".globl _start\n"
	"_start: movl $stack + 8192, %esp\n"
	"pushl %ebx\n"
	"call begin\n");

#else

// struct boot_params
static void read_info(uintptr_t info, struct told *told)
{
	uintptr_t map = info + 0x2d0;

	told->entry = peek32(info + 0x202) == 0x53726448 ? "linux\n" : "linux without HdrS\n";
	told->initrd = peek32(info + 0x218);
	told->cmdline = peek32(info + 0x228);
	told->rsdp = (uintptr_t)peek64(info + 0x70);
	for (uint32_t i = 0; i < (peek32(info + 0x1e8) & 0xff); i++)
		if (peek32(map + 20 * i + 16) == 1)
			told->ram += (uint32_t)((peek64(map + 20 * i + 8) + (1 << 19)) >> 20);
}

// The tables that it begins with map the first GiB. Devices are in the fourth.
static void map_devices(void)
{
	static uint64_t directory[512] __attribute__((aligned(4096)));
	uint64_t *pointers = (uint64_t *)0xa000;

	for (uint64_t i = 0; i < 512; i++)
		directory[i] = (0xc0000000 + (i << 21)) | 0x83;
	pointers[3] = (uintptr_t)directory | 3;
}

__asm__(".globl _start\n"
	"_start: leaq stack + 8192(%rip), %rsp\n"
	"movq %rsi, %rdi\n"
	"call begin\n");

#endif

// ---- what it does -------------------------------------------------------------------------------

static void triple_fault(void)
{
	static const struct {
		uint16_t limit;
		uintptr_t base;
	} __attribute__((packed)) none = { 0, 0 };

	__asm__ volatile("lidt %0; ud2" : : "m"(none));
}

static void put_first_line(uintptr_t at)
{
	char c[2] = "";

	while (at && (c[0] = (char)peek32(at)) != '\n' && c[0]) {
		put(c);
		at++;
	}
	put("\n");
}

static void show_virtio(void)
{
	uint32_t magic;

	map_devices();
	magic = peek32(MMIO);
	for (int i = 0; i < 4; i++)
		out8(COM1, (uint8_t)(magic >> 8 * i));
	put_line(" ", peek32(MMIO + 8), 10);
}

static void show_nothing(void)
{
	map_devices();
	put_line("port ", in8(0x1234), 16);
	put_line("address ", peek32(MMIO - 0x1000), 16);
}

static void show_tables(uintptr_t rsdp)
{
	uintptr_t xsdt = (uintptr_t)peek64(rsdp + 24);

	put_line("tables ", (peek32(xsdt + 4) - 36) / 8, 10);
}

// ---- at random --------------------------------------------------------------------------------------

#define DEVICES    10         // pages of devices, some of them empty
#define AREA       0x1000000u // rings and buffers: 256 KiB at 16 MiB
#define AREA_SIZE  0x40000u
#define RING_DESC  AREA
#define RING_AVAIL (AREA + 0x8000)
#define RING_USED  (AREA + 0xc000)
#define BUFFERS    (AREA + 0x10000)

static uint32_t seed;

static uint32_t any(uint32_t below)
{
	seed ^= seed << 13;
	seed ^= seed >> 17;
	seed ^= seed << 5;
	return below ? seed % below : seed;
}

static void poke32(uintptr_t address, uint32_t value)
{
	__asm__ volatile("movl %0, (%1)" : : "r"(value), "r"(address) : "memory");
}

static void poke(uintptr_t address, uint32_t value, uint32_t size)
{
	if (size == 1)
		__asm__ volatile("movb %b0, (%1)" : : "q"(value), "r"(address) : "memory");
	else if (size == 2)
		__asm__ volatile("movw %w0, (%1)" : : "r"(value), "r"(address) : "memory");
	else
		poke32(address, value);
}

// What may mean something somewhere.
static uint32_t any_value(void)
{
	switch (any(7)) {
	case 0:
		return 0;
	case 1:
		return 1u << any(32);
	case 2:
		return 0xffffffffu >> any(32);
	case 3:
		return AREA + any(AREA_SIZE);
	case 4:
		return any(0x100);
	case 5:
		return 0xd0000000u + any(0x10000);
	default:
		return any(0);
	}
}

// Where a device may write: not over this kernel, which is below 8 MiB.
static uint32_t any_address(void)
{
	return any_value() | 0x800000;
}

static void poke_register(uintptr_t device, uint32_t offset, uint32_t size)
{
	bool address = offset >= 0x80 && offset < 0xa8;

	poke(device + offset, address ? any_address() : any_value(), address ? 4 : size);
}

// As a driver does it (virtio 1.2, 3.1.1), but for what is wrong now and then.
static void begin_device(uintptr_t at)
{
	uint32_t size = any(8) ? 16 : any(0x10000), features;

	poke32(at + 0x70, 0);
	poke32(at + 0x70, 1);
	poke32(at + 0x70, 3);
	for (uint32_t half = 0; half < 2; half++) {
		poke32(at + 0x14, half);
		features = peek32(at + 0x10);
		poke32(at + 0x24, half);
		poke32(at + 0x20, any(4) ? features & (half ? 1 : any(0)) : any(0));
	}
	poke32(at + 0x70, 11);
	for (uint32_t queue = 0; queue < 6; queue++) {
		poke32(at + 0x30, queue);
		poke32(at + 0x38, size);
		poke32(at + 0x80, any(16) ? RING_DESC + queue * 0x1000 : any_address());
		poke32(at + 0x84, any(16) ? 0 : any_value());
		poke32(at + 0x90, any(16) ? RING_AVAIL + queue * 0x800 : any_address());
		poke32(at + 0x94, 0);
		poke32(at + 0xa0, any(16) ? RING_USED + queue * 0x800 : any_address());
		poke32(at + 0xa4, 0);
		poke32(at + 0x44, 1);
	}
	poke32(at + 0x70, 15);
}

static void write_descriptor(uint32_t queue)
{
	uintptr_t at = RING_DESC + queue * 0x1000 + any(16) * 16;

	poke32(at, any(8) ? BUFFERS + any(0x20000) : any_address());
	poke32(at + 4, any(16) ? 0 : any_value());
	poke32(at + 8, any(8) ? any(0x4000) : any_value());
	poke32(at + 12, any(8) | any(16) << 16);
}

// Requests of block devices, files, consoles, … begin with small numbers.
static void write_buffers(void)
{
	for (uint32_t i = 0; i < 16; i++)
		poke32(BUFFERS + any(0x20000 / 4) * 4, any(3) ? any(64) : any_value());
}

static void offer(uintptr_t at, uint32_t queue)
{
	uintptr_t avail = RING_AVAIL + queue * 0x800;
	uint32_t index = peek32(avail) >> 16;

	for (uint32_t n = any(4); n; n--)
		poke(avail + 4 + 2 * (index++ % 16), any(32) ? any(16) : any(0), 2);
	poke(avail + 2, any(16) ? index : any(0), 2);
	poke32(at + 0x50, any(32) ? queue : any_value());
}

static void hammer_once(void)
{
	uintptr_t at = 0xd0000000u + any(DEVICES) * 0x1000;
	uint32_t queue = any(4), size = 1u << any(3);

	switch (any(16)) {
	case 0:
		begin_device(at);
		break;
	case 1:
		poke_register(at, any(0x200 / size) * size, size);
		break;
	case 2:
		poke_register(at, any(0x40) * 4, 4);
		break;
	case 3:
		(void)peek32(at + any(0x80) * 4);
		break;
	case 4:
		poke(RING_AVAIL + any(0x8000), any_value(), size);
		break;
	case 5:
		poke32(at + 0x64, any(4)); // InterruptACK
		break;
	case 6:
	case 7:
		write_buffers();
		break;
	case 8:
	case 9:
	case 10:
		write_descriptor(queue);
		break;
	default:
		offer(at, queue);
	}
}

static uint32_t number(uintptr_t *at)
{
	uint32_t n = 0;

	for (char c; (c = (char)peek32(*at)) >= '0' && c <= '9'; ++*at)
		n = n * 10 + (uint32_t)(c - '0');
	++*at;
	return n;
}

static void hammer(uintptr_t words)
{
	uint32_t first = seed = number(&words), rounds = number(&words);

	map_devices();
	seed = seed * 2654435761u | 1; // a generator of this kind does not leave 0
	for (uint32_t i = 0; i < rounds; i++)
		for (uint32_t k = 0; k < 1000; k++)
			hammer_once();
	put_line("hammered ", first, 10);
}

static void act(const struct told *told, char what, uintptr_t rest)
{
	switch (what) {
	case 'e':
		put(told->entry);
		break;
	case 'h':
		put("hello\n");
		break;
	case 'i':
		put_first_line(told->initrd);
		break;
	case 'c':
		put_first_line(rest);
		break;
	case 'm':
		put_line("ram ", told->ram, 10);
		break;
	case 'v':
		show_virtio();
		break;
	case 'x':
		show_nothing();
		break;
	case 'n':
		show_tables(told->rsdp);
		break;
	case 'w':
		hammer(rest);
		break;
	case 'b':
		for (uint32_t i = 0;; i++)
			put_line("", i % 10, 10);
	case 'f':
		for (;;)
			put("flood flood flood flood flood flood flood flood flood flood flood\n");
	case 'k':
		put("Kernel panic - not syncing: this is a test\nCPU: 0\n");
		out8(I8042, 0xfe);
		break;
	case 's':
		for (;;)
			__asm__ volatile("pause");
	case 'p':
		out8(SLEEP_CONTROL, 5 << 2 | 1 << 5);
		break;
	case 'a':
		out8(RESET, 1);
		break;
	case 'r':
		out8(I8042, 0xfe);
		break;
	case 'q':
		put("q");
		out8(I8042, 0xfe);
		triple_fault();
		break;
	case 't':
		triple_fault();
		break;
	default:
		break;
	}
}

void begin(uintptr_t info);

__attribute__((used, noreturn)) void begin(uintptr_t info)
{
	struct told told = { 0 };

	read_info(info, &told);
	for (uintptr_t at = told.cmdline; (char)peek32(at); at++)
		act(&told, (char)peek32(at), at + 1);
	for (;;)
		__asm__ volatile("pause");
}
