/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where things are in the machine: guest-physical addresses, ports, interrupts. A snapshot holds them, so that a change here
 * is a change of its format.
 */
#ifndef HULL_MICROVM_LAYOUT_H
#define HULL_MICROVM_LAYOUT_H

#include <stdint.h>

/* ---- below 1 MiB: what the boot needs ---- */
#define LAYOUT_GDT 0x500u
#define LAYOUT_START_INFO \
	0x6000u /* PVH: struct hvm_start_info, then the module and the memory map */
#define LAYOUT_BOOT_PARAMS 0x7000u /* else: the zero page */
#define LAYOUT_STACK       0x8ff0u
#define LAYOUT_PML4        0x9000u
#define LAYOUT_PDPT        0xa000u
#define LAYOUT_PD          0xb000u
#define LAYOUT_MAPPED      (UINT64_C(1) << 30) /* bytes that these tables map, from 0 on */
#define LAYOUT_CMDLINE     0x20000u
#define LAYOUT_LOW_END     0x9fc00u /* end of the first range of RAM */
#define LAYOUT_RSDP        0xe0000u /* ACPI; reserved up to 1 MiB */
#define LAYOUT_GENERATION  0xe0030u /* the 16 bytes of VMGenID */
#define LAYOUT_TABLES      0xe0040u
#define LAYOUT_KERNEL      UINT64_C(0x100000) /* a kernel begins here or above */

/* ---- in the hole below 4 GiB ---- */
#define LAYOUT_MMIO      UINT64_C(0xd0000000) /* virtio-mmio device n at + n pages, */
#define LAYOUT_MMIO_SIZE 0x1000u
#define LAYOUT_MMIO_GSI  5u  /* its interrupt + n */
#define LAYOUT_MMIO_MAX  19u /* the IOAPIC has 24 pins */
#define LAYOUT_IOAPIC    0xfec00000u
#define LAYOUT_APIC      0xfee00000u

/* ---- ports ---- */
#define LAYOUT_COM1          0x3f8u
#define LAYOUT_COM1_GSI      4u
#define LAYOUT_I8042_DATA    0x60u
#define LAYOUT_I8042_COMMAND 0x64u
#define LAYOUT_SLEEP_CONTROL 0x600u /* ACPI, hardware-reduced: see acpi.c */
#define LAYOUT_SLEEP_STATUS  0x601u
#define LAYOUT_RESET         0x602u

#define LAYOUT_CPUS_MAX 254u /* APIC ids of 8 bits, without that of all */

#endif
