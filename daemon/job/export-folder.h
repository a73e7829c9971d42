/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Where a VM's exports, and the storage daemons that serve it while it is shut off, have their sockets.
 */
#pragma once

#include <glib.h>

/* The folder in @exports for sockets of one VM; (transfer full). */
char *bk_export_folder_of_vm (const char *exports, const char *vm);
