/* SPDX-License-Identifier: Apache-2.0 */
/* The ports by which the guest ends its machine: ACPI's sleep and reset registers, and the keyboard controller's reset. */
#ifndef HULL_MICROVM_POWER_H
#define HULL_MICROVM_POWER_H

#include <stdbool.h>
#include <stdint.h>

#include "microvm/ending.h"

/* Whether port is one of these. */
bool power_has_port(uint16_t port);

/* What is read there: nothing waits, nothing is busy. */
uint8_t power_read(uint16_t port);

/* What a write means: VMM_END_NONE where the machine goes on. */
enum vmm_end_reason power_write(uint16_t port, uint8_t value);

#endif
