/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The machine as ACPI tables (ACPI 6.5), of the hardware-reduced kind: no fixed hardware but sleep and reset registers.
 * RSDP, XSDT, FADT, MADT and a DSDT with the serial port, the virtio-mmio devices, and the generation id.
 */
#ifndef HULL_MICROVM_ACPI_H
#define HULL_MICROVM_ACPI_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "microvm/guest_memory.h"

#define ACPI_S5                5u                  /* the sleep type that means "off" */
#define ACPI_SLEEP_ENABLE      0x20u               /* sleep control register: go, */
#define ACPI_SLEEP_TYPE(value) ((value) >> 2 & 7u) /* to this state */
#define ACPI_RESET_VALUE       1u

struct acpi_config {
	unsigned cpus;          /* at most LAYOUT_CPUS_MAX */
	unsigned devices;       /* virtio-mmio devices, at most LAYOUT_MMIO_MAX */
	uint8_t generation[16]; /* VMGenID: random, and another one after each restore */
};

/* Writes the tables; LAYOUT_RSDP is where they begin. */
int acpi_write(const struct guest_memory *memory, const struct acpi_config *config,
	       struct error *err);

#endif
