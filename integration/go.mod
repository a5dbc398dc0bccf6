module udplab/integration

go 1.26
