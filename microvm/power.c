/* SPDX-License-Identifier: Apache-2.0 */
/* Power-off and reset; see power.h. */
#include "microvm/power.h"

#include "microvm/acpi.h"
#include "microvm/layout.h"

#define I8042_RESET 0xfeu /* pulses the processor's reset line: Linux' reboot=k */

bool power_has_port(uint16_t port)
{
	switch (port) {
	case LAYOUT_I8042_DATA:
	case LAYOUT_I8042_COMMAND:
	case LAYOUT_SLEEP_CONTROL:
	case LAYOUT_SLEEP_STATUS:
	case LAYOUT_RESET:
		return true;
	default:
		return false;
	}
}

uint8_t power_read(uint16_t port)
{
	(void)port;
	return 0;
}

enum vmm_end_reason power_write(uint16_t port, uint8_t value)
{
	switch (port) {
	case LAYOUT_I8042_COMMAND:
		return value == I8042_RESET ? VMM_END_RESET : VMM_END_NONE;
	case LAYOUT_SLEEP_CONTROL:
		return (value & ACPI_SLEEP_ENABLE) && ACPI_SLEEP_TYPE(value) == ACPI_S5
			       ? VMM_END_POWEROFF
			       : VMM_END_NONE;
	case LAYOUT_RESET:
		return value == ACPI_RESET_VALUE ? VMM_END_RESET : VMM_END_NONE;
	default:
		return VMM_END_NONE;
	}
}
