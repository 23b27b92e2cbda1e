/* SPDX-License-Identifier: Apache-2.0 */
/* The machine's ACPI tables; see acpi.h. Section numbers are those of ACPI 6.5. */
#include "microvm/acpi.h"

#include <endian.h>
#include <stddef.h>
#include <string.h>

#include "microvm/aml.h"
#include "microvm/layout.h"

#define TABLES_MAX 16384 /* bytes of all tables */

#define OEM       "HULL\0"
#define OEM_TABLE "MICROVM"

/* 5.2.5.3 */
struct rsdp {
	char signature[8];
	uint8_t checksum; /* of the first 20 bytes */
	char oem[6];
	uint8_t revision;
	uint32_t rsdt;
	uint32_t length;
	uint64_t xsdt;
	uint8_t extended_checksum; /* of all */
	uint8_t reserved[3];
} __attribute__((packed));

/* 5.2.6 */
struct header {
	char signature[4];
	uint32_t length;
	uint8_t revision;
	uint8_t checksum;
	char oem[6];
	char oem_table[8];
	uint32_t oem_revision;
	char creator[4];
	uint32_t creator_revision;
} __attribute__((packed));

/* 5.2.3.2 */
struct address {
	uint8_t space; /* 1: ports */
	uint8_t bits, offset, access;
	uint64_t address;
} __attribute__((packed));

/* 5.2.9; what is not named is fixed hardware, which this machine lacks */
struct fadt {
	struct header header;
	uint8_t unused1[73];
	uint16_t boot_architecture;
	uint8_t unused2;
	uint32_t flags;
	struct address reset;
	uint8_t reset_value;
	uint16_t arm_boot_architecture;
	uint8_t minor_version;
	uint64_t firmware_control;
	uint64_t dsdt;
	uint8_t unused3[96];
	struct address sleep_control, sleep_status;
	uint64_t hypervisor;
} __attribute__((packed));

#define FADT_WBINVD          (1u << 0)
#define FADT_NO_POWER_BUTTON (1u << 4) /* as fixed hardware */
#define FADT_NO_SLEEP_BUTTON (1u << 5)
#define FADT_RESET_REGISTER  (1u << 10)
#define FADT_HW_REDUCED      (1u << 20)

#define BOOT_NO_VGA (1u << 2)
#define BOOT_NO_RTC (1u << 5)

/* 5.2.12 */
struct madt {
	struct header header;
	uint32_t apic;
	uint32_t flags;
} __attribute__((packed));

struct madt_apic {
	uint8_t type, length, uid, apic_id;
	uint32_t flags; /* 1: enabled */
} __attribute__((packed));

struct madt_ioapic {
	uint8_t type, length, id, reserved;
	uint32_t address, gsi_base;
} __attribute__((packed));

struct madt_nmi {
	uint8_t type, length, uid;
	uint16_t flags;
	uint8_t lint;
} __attribute__((packed));

_Static_assert(sizeof(struct rsdp) == 36, "RSDP");
_Static_assert(offsetof(struct fadt, boot_architecture) == 109, "FADT");
_Static_assert(offsetof(struct fadt, dsdt) == 140, "FADT");
_Static_assert(offsetof(struct fadt, sleep_control) == 244, "FADT");
_Static_assert(sizeof(struct fadt) == 276, "FADT");

/* ---- tables in general -------------------------------------------------------------------- */

static uint8_t checksum(const void *data, size_t len)
{
	const uint8_t *p = data;
	uint8_t sum = 0;

	for (size_t i = 0; i < len; i++)
		sum = (uint8_t)(sum + p[i]);
	return (uint8_t)-sum;
}

/* Begins a table, on a multiple of 16 bytes; returns where. */
static size_t begin(struct aml *tables)
{
	static const uint8_t zeros[16];

	aml_bytes(tables, zeros, -tables->len & 15);
	return tables->len;
}

static struct header make_header(const char *signature, uint8_t revision)
{
	struct header header = {
		.revision = revision,
		.oem = OEM,
		.oem_table = OEM_TABLE,
		.oem_revision = htole32(1),
		.creator = { 'H', 'U', 'L', 'L' },
		.creator_revision = htole32(1),
	};

	memcpy(header.signature, signature, sizeof(header.signature));
	return header;
}

/* The table from start on is whole: its length and checksum go into its header. Returns its guest-physical address. */
static uint64_t finish(struct aml *tables, size_t start)
{
	struct header header;
	uint32_t length = (uint32_t)(tables->len - start);

	if (!tables->overflow) {
		memcpy(&header, tables->data + start, sizeof(header));
		header.length = htole32(length);
		memcpy(tables->data + start, &header, sizeof(header));
		header.checksum = checksum(tables->data + start, length);
		memcpy(tables->data + start, &header, sizeof(header));
	}
	return LAYOUT_TABLES + start;
}

/* ---- DSDT --------------------------------------------------------------------------------- */

static void add_serial(struct aml *aml)
{
	size_t device = aml_device(aml, "COM1"), resources;

	aml_name(aml, "_HID");
	aml_eisa_id(aml, "PNP0501");
	aml_name(aml, "_UID");
	aml_integer(aml, 0);
	aml_name(aml, "_CRS");
	resources = aml_resources(aml);
	aml_ports(aml, LAYOUT_COM1, 8);
	aml_interrupt(aml, LAYOUT_COM1_GSI);
	aml_resources_close(aml, resources);
	aml_close(aml, device);
}

/* The order of the devices here is that in which Linux numbers them: the first disk is /dev/vda. */
static void add_virtio(struct aml *aml, unsigned index)
{
	static const char digits[] = "0123456789ABCDEF";
	char name[] = { 'V', 'R', digits[index >> 4 & 15], digits[index & 15] };
	size_t device = aml_device(aml, name), resources;

	aml_name(aml, "_HID");
	aml_string(aml, "LNRO0005");
	aml_name(aml, "_UID");
	aml_integer(aml, index);
	aml_name(aml, "_CRS");
	resources = aml_resources(aml);
	aml_memory(aml, (uint32_t)(LAYOUT_MMIO + index * LAYOUT_MMIO_SIZE), LAYOUT_MMIO_SIZE);
	aml_interrupt(aml, LAYOUT_MMIO_GSI + index);
	aml_resources_close(aml, resources);
	aml_close(aml, device);
}

/* "Virtual Machine Generation ID", a paper of Microsoft's: ADDR says where it is, as two 32-bit halves. */
static void add_generation(struct aml *aml)
{
	size_t device = aml_device(aml, "VGEN"), package;

	aml_name(aml, "_HID");
	aml_string(aml, "VMGENCTR");
	aml_name(aml, "_CID");
	aml_string(aml, "VM_Gen_Counter");
	aml_name(aml, "_DDN");
	aml_string(aml, "VM_Gen_Counter");
	aml_name(aml, "ADDR");
	package = aml_package(aml, 2);
	aml_integer(aml, LAYOUT_GENERATION);
	aml_integer(aml, 0);
	aml_close(aml, package);
	aml_close(aml, device);
}

static uint64_t add_dsdt(struct aml *tables, const struct acpi_config *config)
{
	struct header header = make_header("DSDT", 2);
	size_t start = begin(tables), scope, package;

	aml_bytes(tables, &header, sizeof(header));
	scope = aml_scope(tables, "\\_SB_");
	add_serial(tables);
	add_generation(tables);
	for (unsigned i = 0; i < config->devices; i++)
		add_virtio(tables, i);
	aml_close(tables, scope);
	aml_name(tables, "_S5_");
	package = aml_package(tables, 4);
	aml_integer(tables, ACPI_S5);
	for (int i = 0; i < 3; i++)
		aml_integer(tables, 0);
	aml_close(tables, package);
	return finish(tables, start);
}

/* ---- the other tables --------------------------------------------------------------------- */

static struct address port(uint16_t number)
{
	return (struct address){ .space = 1, .bits = 8, .access = 1, .address = htole64(number) };
}

static uint64_t add_fadt(struct aml *tables, uint64_t dsdt)
{
	struct fadt fadt = {
		.header = make_header("FACP", 6),
		.boot_architecture = htole16(BOOT_NO_VGA | BOOT_NO_RTC),
		.flags = htole32(FADT_WBINVD | FADT_NO_POWER_BUTTON | FADT_NO_SLEEP_BUTTON |
				 FADT_RESET_REGISTER | FADT_HW_REDUCED),
		.reset = port(LAYOUT_RESET),
		.reset_value = ACPI_RESET_VALUE,
		.minor_version = 5,
		.dsdt = htole64(dsdt),
		.sleep_control = port(LAYOUT_SLEEP_CONTROL),
		.sleep_status = port(LAYOUT_SLEEP_STATUS),
	};
	size_t start = begin(tables);

	aml_bytes(tables, &fadt, sizeof(fadt));
	return finish(tables, start);
}

static uint64_t add_madt(struct aml *tables, unsigned cpus)
{
	struct madt madt = {
		.header = make_header("APIC", 5),
		.apic = htole32(LAYOUT_APIC),
	};
	struct madt_ioapic ioapic = {
		.type = 1,
		.length = sizeof(ioapic),
		.id = (uint8_t)cpus, /* no processor's */
		.address = htole32(LAYOUT_IOAPIC),
	};
	struct madt_nmi nmi = { .type = 4, .length = sizeof(nmi), .uid = 0xff, .lint = 1 };
	size_t start = begin(tables);

	aml_bytes(tables, &madt, sizeof(madt));
	for (unsigned i = 0; i < cpus; i++) {
		struct madt_apic apic = {
			.length = sizeof(apic),
			.uid = (uint8_t)i,
			.apic_id = (uint8_t)i,
			.flags = htole32(1),
		};

		aml_bytes(tables, &apic, sizeof(apic));
	}
	aml_bytes(tables, &ioapic, sizeof(ioapic));
	aml_bytes(tables, &nmi, sizeof(nmi));
	return finish(tables, start);
}

static uint64_t add_xsdt(struct aml *tables, uint64_t fadt, uint64_t madt)
{
	struct header header = make_header("XSDT", 1);
	uint64_t entries[] = { htole64(fadt), htole64(madt) };
	size_t start = begin(tables);

	aml_bytes(tables, &header, sizeof(header));
	aml_bytes(tables, entries, sizeof(entries));
	return finish(tables, start);
}

int acpi_write(const struct guest_memory *memory, const struct acpi_config *config,
	       struct error *err)
{
	uint8_t data[TABLES_MAX];
	struct aml tables = { .data = data, .size = sizeof(data) };
	struct rsdp rsdp = {
		.signature = { 'R', 'S', 'D', ' ', 'P', 'T', 'R', ' ' },
		.oem = OEM,
		.revision = 2,
		.length = htole32(sizeof(rsdp)),
	};
	uint64_t fadt, madt;

	fadt = add_fadt(&tables, add_dsdt(&tables, config));
	madt = add_madt(&tables, config->cpus);
	rsdp.xsdt = htole64(add_xsdt(&tables, fadt, madt));
	rsdp.checksum = checksum(&rsdp, offsetof(struct rsdp, length));
	rsdp.extended_checksum = checksum(&rsdp, sizeof(rsdp));
	if (tables.overflow)
		return error_set(err, ENOSPC, "the ACPI tables have no room for so many devices");
	if (!guest_memory_write(memory, LAYOUT_RSDP, &rsdp, sizeof(rsdp)) ||
	    !guest_memory_write(memory, LAYOUT_GENERATION, config->generation,
				sizeof(config->generation)) ||
	    !guest_memory_write(memory, LAYOUT_TABLES, data, tables.len))
		return error_set(err, ENOMEM, "the guest has no memory for ACPI tables");
	return 0;
}
