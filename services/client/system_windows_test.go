package main

import "golang.org/x/sys/windows"

const refusedErrno = windows.WSAECONNRESET
