/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "export-folder.h"

/* Paths of sockets have about 100 bytes, and names of VMs up to 64. */
#define FOLDER_DIGITS 10

char *
bk_export_folder_of_vm (const char *exports, const char *vm)
{
  g_autofree char *digits = g_compute_checksum_for_string (G_CHECKSUM_SHA256, vm, -1);
  digits[FOLDER_DIGITS] = '\0';
  return g_build_filename (exports, digits, NULL);
}
