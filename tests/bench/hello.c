/* SPDX-License-Identifier: Apache-2.0 */
/* The program whose first line is waited for: says hello and ends. */
#include <unistd.h>

int main(void)
{
	return write(STDOUT_FILENO, "hello\n", 6) == 6 ? 0 : 1;
}
