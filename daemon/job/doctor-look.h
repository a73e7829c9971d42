/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * What `doctor` looks at, outside of our own memory. Worker threads: any of it may take as long as what it looks at hangs.
 */
#pragma once

#include "findings.h"

/* Why no file can be made in @path, or NULL; nothing is left there. *@free_bytes: 0 when not known. (transfer full) */
char *bk_doctor_look_folder (const char *path, uint64_t *free_bytes);

/* All programs that the daemon starts. */
void bk_doctor_look_programs (GPtrArray *findings);

/* Whether there is something at @path that we may connect to. *@failure: why not, when not simply nothing is there;
 * *@owner: whose it is. Both (transfer full), or NULL. */
bool bk_doctor_look_socket (const char *path, char **owner, char **failure);

/* "libvirt-UUID (enforce)" for the QEMU @process (bk_pid_identity()); NULL when it is not confined, or that is not to be known.
 * (transfer full) */
char *bk_doctor_look_confinement (const char *process);

/* *@frozen: of the guest. Why the agent at @address (agent.h) does not answer, or NULL; (transfer full). */
char *bk_doctor_look_agent (const char *address, bool *frozen);
