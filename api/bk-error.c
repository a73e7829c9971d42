/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "bk-error.h"

#include <errno.h>

G_DEFINE_QUARK (bk-error-quark, bk_error)

static const BkErrorEntry table[] = {
  { BK_ERROR_FAILED, "failed", 500, 1, "the job or the operation failed" },
  { BK_ERROR_INVALID, "invalid", 400, 2, "the request is wrong" },
  { BK_ERROR_PARTIAL, "partial", 0, 3, "some disks are safe, some are not" },
  { BK_ERROR_NOT_FOUND, "not-found", 404, 4, "no such thing" },
  { BK_ERROR_CONFLICT, "conflict", 409, 5, "busy, or not in this state" },
  { BK_ERROR_UNREACHABLE, "unreachable", 502, 6, "daemon, QEMU, libvirt or repository not reachable" },
  { BK_ERROR_DENIED, "denied", 403, 7, "not allowed" },
  { BK_ERROR_CANCELLED, "cancelled", 0, 8, "cancelled on request" },
  { BK_ERROR_CORRUPT, "corrupt", 500, 9, "stored data does not match its checksum" },
  { BK_ERROR_NO_SPACE, "no-space", 507, 10, "target, scratch or state directory is full" },
};
G_STATIC_ASSERT (G_N_ELEMENTS (table) == BK_ERROR_LAST);

const BkErrorEntry *
bk_error_entry (BkErrorCode code)
{
  g_assert (code < BK_ERROR_LAST && table[code].code == code);
  return &table[code];
}

const BkErrorEntry *
bk_error_entry_by_name (const char *name)
{
  for (size_t i = 0; i < G_N_ELEMENTS (table); i++)
    if (g_strcmp0 (table[i].name, name) == 0)
      return &table[i];
  return &table[BK_ERROR_FAILED];
}

const BkErrorEntry *
bk_error_entry_of (const GError *error)
{
  if (error->domain == BK_ERROR)
    return bk_error_entry ((BkErrorCode)error->code);
  if (g_error_matches (error, G_IO_ERROR, G_IO_ERROR_CANCELLED))
    return bk_error_entry (BK_ERROR_CANCELLED);
  if (g_error_matches (error, G_IO_ERROR, G_IO_ERROR_NO_SPACE))
    return bk_error_entry (BK_ERROR_NO_SPACE);
  return bk_error_entry (BK_ERROR_FAILED);
}

static BkErrorCode
code_of_errno (int errsv)
{
  switch (errsv) {
  case ENOSPC:
  case EDQUOT:
    return BK_ERROR_NO_SPACE;
  case ENAMETOOLONG:
    return BK_ERROR_INVALID;
  case ENOENT:
    return BK_ERROR_NOT_FOUND;
  case EACCES:
  case EPERM:
  case EROFS:
    return BK_ERROR_DENIED;
  default:
    return BK_ERROR_FAILED;
  }
}

gboolean
bk_error_set_errno (GError **error, int errsv, const char *format, ...)
{
  va_list args;
  va_start (args, format);
  g_autofree char *what = g_strdup_vprintf (format, args);
  va_end (args);
  g_set_error (error, BK_ERROR, code_of_errno (errsv), "%s: %s", what, g_strerror (errsv));
  return FALSE;
}
