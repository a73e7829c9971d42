/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Words to write BkField tables with; for the .c files that hold such tables, never for headers.
 */
#pragma once

#include "bk-json.h"

/* A table's row: STRING (BkJobInfo, id, 0) is the member "id" at offsetof (BkJobInfo, id). */
#define ROW(Kind, Type, member, flags) { #member, Kind, offsetof (Type, member), flags, NULL, NULL }
#define STRING(Type, member, flags) ROW (BK_FIELD_STRING, Type, member, flags)
#define WORD(Type, member, words, flags) { #member, BK_FIELD_STRING, offsetof (Type, member), flags, NULL, words }
#define BOOL(Type, member, flags) ROW (BK_FIELD_BOOL, Type, member, flags)
#define UINT64(Type, member, flags) ROW (BK_FIELD_UINT64, Type, member, flags)
#define INT64(Type, member, flags) ROW (BK_FIELD_INT64, Type, member, flags)
#define TIME(Type, member, flags) ROW (BK_FIELD_TIME, Type, member, flags)
#define STRV(Type, member, flags) ROW (BK_FIELD_STRV, Type, member, flags)
#define MAP(Type, member, flags) ROW (BK_FIELD_MAP, Type, member, flags)
#define OBJECT(Type, member, sub, flags) { #member, BK_FIELD_OBJECT, offsetof (Type, member), flags, &sub, NULL }
#define ARRAY(Type, member, sub, flags) { #member, BK_FIELD_ARRAY, offsetof (Type, member), flags, &sub, NULL }
#define END { NULL, BK_FIELD_STRING, 0, 0, NULL, NULL }
#define STRUCT(Type, prefix, text) const BkStruct prefix##_struct = { text, sizeof (Type), prefix##_fields }
