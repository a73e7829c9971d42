/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "target.h"

#include <string.h>

#define DISK_PLACEHOLDER "{disk}"

bool
bk_target_is_nbd (const char *target)
{
  return g_str_has_prefix (target, "nbd://") || g_str_has_prefix (target, "nbd+unix://");
}

gboolean
bk_target_check (const char *target, GError **error)
{
  if (g_path_is_absolute (target) || bk_target_is_nbd (target))
    return TRUE;
  g_set_error (error, BK_ERROR, BK_ERROR_INVALID,
               "target '%s' must be an absolute path, or a URI that starts with nbd:// or nbd+unix://", target);
  return FALSE;
}

const char *
bk_target_format (const BkBackupRequest *request)
{
  if (request->target == NULL)
    return "qcow2";
  if (request->format)
    return request->format;
  return bk_target_is_nbd (request->target) ? "raw" : "qcow2";
}

static char *
replace (const char *text, const char *old, const char *new)
{
  g_auto (GStrv) parts = g_strsplit (text, old, -1);
  return g_strjoinv (new, parts);
}

char *
bk_target_for_disk (const BkBackupRequest *request, const char *disk, unsigned n_disks, GError **error)
{
  bool nbd = bk_target_is_nbd (request->target);
  if (nbd && strstr (request->target, DISK_PLACEHOLDER)) {
    g_autofree char *name = g_uri_escape_string (disk, NULL, FALSE);
    return replace (request->target, DISK_PLACEHOLDER, name);
  }
  if (n_disks == 1)
    return g_strdup (request->target);
  if (nbd) {
    g_set_error (error, BK_ERROR, BK_ERROR_INVALID,
                 "target '%s' is one export for %u disks; put " DISK_PLACEHOLDER " where the disk's name belongs",
                 request->target, n_disks);
    return NULL;
  }
  g_autofree char *component = bk_path_component_escape (disk);
  return g_strdup_printf ("%s%s%s.%s", request->target, g_str_has_suffix (request->target, "/") ? "" : "/", component,
                          bk_target_format (request));
}

char *
bk_target_in_folder (const char *folder, const char *disk)
{
  g_autofree char *component = bk_path_component_escape (disk);
  return g_strdup_printf ("%s/%s.qcow2", folder, component);
}

char *
bk_target_backing (const char *parent_backup, const char *disk)
{
  g_autofree char *component = bk_path_component_escape (disk);
  return g_strdup_printf ("../%s/%s.qcow2", parent_backup, component);
}
